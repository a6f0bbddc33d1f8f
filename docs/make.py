"Write what the documentation shows of the program itself: every command's help, and the image of a result."
import os, tempfile
from pathlib import Path
os.environ.setdefault('COLUMNS', '120')
from quickcls.cli import command_parser, commands, overview

docs = Path(__file__).parent

def help_page()->str:
    "Every command's `--help`, as one Markdown page"
    parts = [f'## quickcls {name}\n\n```\n{command_parser(name)[0].format_help().strip()}\n```\n' for name in commands]
    return '# The command line\n\nWritten by `make docs` from the program itself; a test compares.\n\n```\n' + overview() + '\n```\n\n' + '\n'.join(parts)

def result_image(path:Path):
    "Six held-out parts with what the classifier says of them, beside the confusion matrix"
    from matplotlib.figure import Figure
    from PIL import Image
    from quickcls.all import train
    with tempfile.TemporaryDirectory() as d:
        clf = train(docs.parent/'datasets'/'parts', out=f'{d}/parts', arch='efficientnet_lite0', quiet=True)
        ev = clf.evaluate()
    worst = ev.table.nlargest(1, 'loss')
    shown = [*ev.table[ev.table.loss < .3].groupby('label').head(3).itertuples()][:5] + [*worst.itertuples()]
    fig = Figure(figsize=(11, 4.2), dpi=110, layout='constrained')
    left, right = fig.subfigures(1, 2, width_ratios=(1.75, 1))
    for ax, r in zip(left.subplots(2, 3).flat, shown):
        ax.imshow(Image.open(r.path)); ax.set_axis_off()
        right_answer = r.label == r.predicted
        ax.set_title(f'{r.predicted} {getattr(r, "p_" + r.predicted):.0%}' + ('' if right_answer else f', is {r.label}'), fontsize=11, color='#1a7f37' if right_answer else '#c0392b')
    ax, counts = right.subplots(), ev.confusion_matrix()
    ax.imshow(counts.to_numpy()/counts.to_numpy().sum(1, keepdims=True), cmap='Blues', vmin=0, vmax=1)
    for i in range(2):
        for j in range(2): ax.text(j, i, counts.iloc[i, j], ha='center', va='center', fontsize=15, color='white' if i == j else '#08306b')
    ax.set_xticks(range(2), counts.columns); ax.set_yticks(range(2), counts.index)
    ax.set(xlabel='predicted', ylabel='actual'); ax.set_title(f'accuracy {ev.accuracy:.1%} on {ev.n} held-out parts', fontsize=11)
    fig.savefig(path)

def heat_image(path:Path):
    "What in a defect part speaks for a defect"
    from quickcls.all import train
    from quickcls.evaluate.style import save_figure
    with tempfile.TemporaryDirectory() as d:
        clf = train(docs.parent/'datasets'/'parts', out=f'{d}/parts', arch='efficientnet_lite0', quiet=True)
        save_figure(clf.explain(docs/'parts'/'defect.jpg').plot(), path)

def demo_image(path:Path):
    "The page of a classifier, an answer on it"
    import shutil
    from playwright.sync_api import sync_playwright
    from quickcls.all import train
    from quickcls.demo import ask_page, launch, pack_images
    with tempfile.TemporaryDirectory() as d, sync_playwright() as p:
        pack_images(train(docs.parent/'datasets'/'parts', out=f'{d}/parts', arch='efficientnet_lite0', quiet=True).path)
        page = ask_page(f'{d}/parts', examples=docs/'parts')
        url, browser = launch(page, block=False), p.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox', '--disable-gpu'])
        seen = browser.new_page(viewport=dict(width=1180, height=620), device_scale_factor=1.25)
        seen.goto(url)
        seen.locator('#examples button').first.click()
        seen.wait_for_selector('#answer .qc-verdict'); seen.mouse.move(0, 0); seen.wait_for_timeout(1000)
        seen.screenshot(path=path)
        browser.close(); page.close(verbose=False)

if __name__ == '__main__':
    (docs/'cli.md').write_text(help_page(), encoding='utf-8')
    result_image(docs/'result.png')
    heat_image(docs/'heat.png')
    demo_image(docs/'demo.png')
