"Write the generated parts of the documentation: the help of every command; with the word `figures`, images of results too."
import os, sys, tempfile
from pathlib import Path
os.environ['COLUMNS'] = '120' # whatever the terminal says: docs/cli.md is the same everywhere
from quickcls.cli import command_parser, commands, overview

docs = Path(__file__).parent

def help_page()->str:
    "Every command's `--help`, as one Markdown page"
    parts = [f'## quickcls {name}\n\n```\n{command_parser(name)[0].format_help().strip()}\n```\n' for name in commands]
    head = '# The command line\n\nWritten by `make docs` from the program itself; a test compares.\n\n'
    return f'{head}```\n{overview()}\n```\n\n' + '\n'.join(parts)

def result_image(path:Path):
    "Six held-out parts with their predictions, beside the confusion matrix"
    from matplotlib.figure import Figure
    from quickcls.all import train
    with tempfile.TemporaryDirectory() as d:
        clf = train(docs.parent/'datasets'/'parts', out=f'{d}/parts', arch='efficientnet_lite0', quiet=True)
        ev = clf.evaluate()
    worst = ev.table.nlargest(1, 'loss')
    shown = [*ev.table[ev.table.loss < .3].groupby('label').head(3).itertuples()][:5] + [*worst.itertuples()]
    fig = Figure(figsize=(11, 4.2), dpi=110, layout='constrained')
    left, right = fig.subfigures(1, 2, width_ratios=(1.75, 1))
    for ax, r in zip(left.subplots(2, 3).flat, shown): draw_prediction(ax, r)
    ax = right.subplots()
    draw_matrix(ax, ev.confusion_matrix())
    ax.set_title(f'accuracy {ev.accuracy:.1%} on {ev.n} held-out parts', fontsize=11)
    fig.savefig(path)

def draw_prediction(ax, row):
    "An image with its prediction, green where it is correct"
    from PIL import Image
    ax.imshow(Image.open(row.path))
    ax.set_axis_off()
    title = f'{row.predicted} {getattr(row, "p_" + row.predicted):.0%}'
    if row.label == row.predicted: ax.set_title(title, fontsize=11, color='#1a7f37')
    else: ax.set_title(f'{title}, is {row.label}', fontsize=11, color='#c0392b')

def draw_matrix(ax, counts):
    "A confusion matrix of two classes"
    n = counts.to_numpy()
    ax.imshow(n/n.sum(1, keepdims=True), cmap='Blues', vmin=0, vmax=1)
    for i in range(2):
        for j in range(2): ax.text(j, i, n[i, j], ha='center', va='center', fontsize=15, color='white' if i == j else '#08306b')
    ax.set_xticks(range(2), counts.columns)
    ax.set_yticks(range(2), counts.index)
    ax.set(xlabel='predicted', ylabel='actual')

def heat_image(path:Path):
    "The heat map of a defective part"
    from quickcls.all import train
    from quickcls.evaluate.style import save_figure
    with tempfile.TemporaryDirectory() as d:
        clf = train(docs.parent/'datasets'/'parts', out=f'{d}/parts', arch='efficientnet_lite0', quiet=True)
        save_figure(clf.explain(docs/'parts'/'defect.jpg').plot(), path)

def demo_image(path:Path):
    "The page of a classifier, with an answer"
    import shutil
    from playwright.sync_api import sync_playwright
    from quickcls.all import train
    from quickcls.demo import ask_page, launch, pack_images
    with tempfile.TemporaryDirectory() as d, sync_playwright() as p:
        pack_images(train(docs.parent/'datasets'/'parts', out=f'{d}/parts', arch='efficientnet_lite0', quiet=True).path)
        page = ask_page(f'{d}/parts', examples=docs/'parts')
        url = launch(page, block=False)
        browser = p.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox', '--disable-gpu'])
        seen = browser.new_page(viewport=dict(width=1180, height=620), device_scale_factor=1.25)
        seen.goto(url)
        seen.locator('#examples button').first.click()
        seen.wait_for_selector('#answer .qc-verdict')
        seen.locator('#answer .qc-blend').fill('70')
        seen.mouse.move(0, 0)
        seen.wait_for_timeout(1000)
        seen.screenshot(path=path)
        browser.close()
        page.close(verbose=False)

if __name__ == '__main__':
    (docs/'cli.md').write_text(help_page(), encoding='utf-8')
    if 'figures' not in sys.argv: sys.exit()
    result_image(docs/'result.png')
    heat_image(docs/'heat.png')
    demo_image(docs/'demo.png')
