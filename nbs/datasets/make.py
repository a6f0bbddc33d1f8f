"""Measure what to expect of each data set, write its notebook as `quickcls new` does, execute it, and fill in its card: `make notebooks`.

    python nbs/datasets/make.py                        # all of them
    python nbs/datasets/make.py flowers --data ~/data  # one, with its images in ~/data/flowers
    python nbs/datasets/make.py --keep                 # the lesson has changed: execute it again, and keep the measured figures
"""
import argparse, base64, io, json, os, platform, re, shlex, subprocess, sys, tempfile, time
from datetime import date
from pathlib import Path
import nbformat
from nbclient import NotebookClient
from nbdev.clean import clean_nb
from quickcls.data.items import scan_folder
from quickcls.data.split import split_items
from quickcls.multilabel.labels import read_labels
from quickcls.sets.cards import read_card
from quickcls.sets.notebook import lesson_cells, lesson_notebook, path_from

here = Path(__file__).resolve().parent
repo = here.parent.parent
names = ('parts', 'casting', 'hymenoptera', 'flowers', 'trashnet', 'dogs_angry_happy', 'lego_bricks', 'sushi_tiny', 'movie_posters')
free = ('parts',) # images may be shown
arch = 'efficientnet_lite0' # included in quickcls, so that the figures are the same with and without internet
seeds = (1, 2, 3, 4, 5)

# measuring: each run is the command itself, in a separate process

def options_of(name):
    "The options that the card says for `quickcls train`, as words and as parameters"
    words = shlex.split(read_card(name).facts.get('train', ''))
    return words, {k.removeprefix('--').replace('-', '_'): v for k, v in zip(words[::2], words[1::2])}

def train_once(name, folder, seed, cache):
    "(metrics.json of one training, seconds of the whole process)"
    with tempfile.TemporaryDirectory() as d:
        code = 'import sys; from quickcls.cli import main; sys.exit(main())'
        words = ['train', str(folder), *options_of(name)[0], '--arch', arch, '--seed', str(seed)]
        words += ['--out', f'{d}/model', '--no-images', '--quiet']
        t = time.perf_counter()
        subprocess.run([sys.executable, '-c', code, *words], check=True, env=os.environ | {'QUICKCLS_CACHE': str(cache)})
        return json.loads(Path(d, 'model', 'metrics.json').read_text(encoding='utf-8')), time.perf_counter() - t

def measure(name, folder, cache):
    "The default run with its seconds, the first from an empty cache, and the runs with other seeds"
    default, first = train_once(name, folder, 42, cache)
    runs = [train_once(name, folder, s, cache) for s in seeds]
    return dict(default=default, first=first, again=min(s for _, s in runs), runs=[m for m, _ in runs])

def percent(share): return f'{share:.1%}'.replace('%', ' %')

def over_seeds(values):
    "Mean and range, or the one value that all seeds gave"
    a, b = (percent(f(values)) for f in (min, max))
    if a == b: return f'{a} with each of the seeds 1 to 5'
    return f'mean {percent(sum(values)/len(values))}, {a.removesuffix(" %")} to {b} (seeds 1 to 5)'

def held_out_words(m):
    "Accuracy on the held-out images, of the default seed and of others; without duplicates too, where there are some"
    if 'held_out' in m['default']: return precision_words(m, 'held_out')
    d, apart = m['default'], m['default'].get('without_twins')
    right = f'{percent(d["accuracy"])} ({d["n"] - d["errors"]} of {d["n"]}) with the default seed 42'
    text = f'{over_seeds([r["accuracy"] for r in m["runs"]])}; {right}'
    if not apart: return text
    others = over_seeds([r['without_twins']['accuracy'] for r in m['runs']])
    return f'{text}. Without the {apart["twins"]} duplicates: {others}; {percent(apart["accuracy"])} of {apart["n"]} with seed 42'

def precision_words(m, which):
    "Mean average precision of several labels an image, beside chance"
    d = m['default'][which]
    each = over_seeds([r[which]['mean_average_precision'] for r in m['runs']])
    default = f'{percent(d["mean_average_precision"])} on {d["n"]} images with the default seed 42'
    return f'{each}; {default}, where chance gives {percent(d["chance"])}'

def cross_validated_words(m):
    if 'crossed' in m['default']: return precision_words(m, 'crossed')
    return over_seeds([r['trust']['cross_validation']['accuracy'] for r in m['runs']])

# the card: its text is repeated in the notebook, and measured figures are filled in

def card_of(name):
    "(title, first paragraph, {row: text}) of a data set's card, its links relative to this folder"
    text = (repo/'datasets'/name/'README.md').read_text(encoding='utf-8')
    text = re.sub(r'\]\((?!https?:)([^)#]+)\)', lambda m: f'](../../datasets/{name}/{m[1]})', text)
    text = text.replace(f'../../datasets/{name}/../../', '../../').replace(f'/{name}/../', '/')
    title, about = re.search(r'^# (.+?)\n\n(.+?)\n\n', text, re.S | re.M).groups()
    return title, ' '.join(about.split()), dict(re.findall(r'^\| (\w+) \| (.+) \|$', text, re.M))

def fill_card(name, m):
    "The card's row about quickcls"
    path = repo/'datasets'/name/'README.md'
    row = rf'| quickcls | its defaults, with `--arch {arch}` | \1 | {held_out_words(m)} | {cross_validated_words(m)} |'
    text, n = re.subn(r'^\| quickcls \| [^|]+ \| ([^|]+) \| [^|]+ \| [^|]+ \|$', row, path.read_text(encoding='utf-8'), flags=re.M)
    if n != 1: sys.exit(f'{path}: expected one row about quickcls, found {n}.')
    path.write_text(text, encoding='utf-8')

# the notebook

defaults = ('nothing was tuned to this data set: the defaults of `quickcls train`, which were chosen on several data sets together, '
            'and the included backbone')
own_split = 'the splits are those of the folder; a seed changes only the folds'
no_split = 'another seed changes the held-out images and the folds'
not_here = ('The images are not part of this repository: [get them](../../datasets/{name}/README.md#get-it) and set `folder`. '
            'No images are shown here (`show_images = False`).')

def class_words(items):
    "`ants` 194 (train 124, valid 70), …"
    if 'labels' in items.table: return ', '.join(f'`{l}` {n:,}' for l, n in items.table.labels.explode().value_counts().items())
    counts = items.table.groupby(['label', 'split']).size().unstack(fill_value=0)
    counts = counts.sort_index(axis=1, key=lambda splits: splits.map(dict(train=0, valid=1, test=2)))
    def words(row): return ', '.join(f'{split} {n:,}' for split, n in row.items())
    return ', '.join(f'`{c}` {row.sum():,} ({words(row)})' for c, row in counts.iterrows())

def machine(): return f'{os.cpu_count()} cores ({platform.machine()}), no GPU, {platform.system()}, Python {platform.python_version()}'

def machine_words(m):
    "Cores, system and time, as measured"
    embed = f'{m["default"]["seconds"]["embed"]:.0f} s for embedding the images, including the export of the network'
    first = f'{m["first"]/60:.1f} minutes from an empty cache ({m["first"]:.0f} s, of which {embed})'
    return f'{machine()}. {first}, then {m["again"]:.0f} s; measured on {date.today().isoformat()}'

def opening(name, scanned, m):
    "The first cell: what it is, what to expect, and the one command"
    title, about, card = card_of(name)
    several = 'labels' in scanned.table
    mean = 'mean average precision over the labels; ' if several else ''
    own, items = scanned.table.split.notna().any(), scanned if several else split_items(scanned)
    seed = own_split if own else no_split
    skipped = f', {len(items.skipped)} files skipped' if items.skipped else ''
    rows = {'Source': card['Source'], 'Licence': card['Licence'], 'Classes': class_words(items), 'Images': f'{len(items):,}{skipped}',
            'Expected accuracy': f'{mean}held-out images: {held_out_words(m)}<br>cross-validated: {cross_validated_words(m)}',
            'How chosen': f'{defaults}; {seed}', 'Machine': machine_words(m),
            'Command': f'`quickcls train {"datasets/" if name in free else ""}{shlex.join([name, *options_of(name)[0]])} --arch {arch}`'}
    table = '\n'.join(['| | |', '|---|---|', *(f'| {k} | {v} |' for k, v in rows.items())])
    get = '' if name in free else f' {not_here.format(name=name)}'
    return f'# {title}\n\n{about} The [card](../../datasets/{name}/README.md) lists its known faults.{get}\n\n{table}'

def execute(nb, folder=here):
    "Run all cells in a folder; keep the visible outputs, without widgets and without paths of this machine"
    options = dict(store_widget_state=False, record_timing=False, coalesce_streams=True)
    NotebookClient(nb, timeout=3600, kernel_name='python3', resources=dict(metadata=dict(path=str(folder))), **options).execute()
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs = kept_outputs(c)
    clean_nb(nb)

def kept_outputs(cell):
    "The outputs of a cell without widgets, photographs as JPEG, figures with 64 colours"
    shown = [o for o in cell.outputs if 'application/vnd.jupyter.widget-view+json' not in o.get('data', {})]
    return [smaller(o, photo=cell.id in ('look-at-images', 'worst-images', 'predict')) for o in shown]

def smaller(output, photo):
    "An image of an output in fewer bytes: a photograph as JPEG (a tenth), a drawn figure with 64 colours (a third)"
    from PIL import Image
    if not (png := output.get('data', {}).pop('image/png', None)): return output
    image, file = Image.open(io.BytesIO(base64.b64decode(png))).convert('RGB'), io.BytesIO()
    if photo: image.save(file, 'JPEG', quality=70)
    else: image.quantize(64, dither=Image.Dither.NONE).save(file, 'PNG', optimize=True)
    output['data']['image/jpeg' if photo else 'image/png'] = base64.b64encode(file.getvalue()).decode()
    return output

def scan(name, folder):
    "The labelled images"
    separator = options_of(name)[1].get('label_separator')
    return read_labels(folder, separator=separator) if separator else scan_folder(folder)

def make(name, folder):
    "Measure, fill the card, write and execute the notebook, all with an empty cache"
    with tempfile.TemporaryDirectory() as cache:
        m = measure(name, folder, cache)
        fill_card(name, m)
        os.environ['QUICKCLS_CACHE'] = cache
        write(name, folder, opening(name, scan(name, folder), m))
    print(f'{name}: held-out {held_out_words(m)}; cross-validated {cross_validated_words(m)}')

def notebook_of(name, folder, opening=None):
    "The notebook of a data set, not executed: what `quickcls new` writes, and what is to be said about this set alone"
    layout = options_of(name)[1]
    separator, card = layout.pop('label_separator', None), None if name in free else name
    nb = lesson_notebook(folder, name, opening=opening, arch=arch, layout=layout, separator=separator, card=card, images=name in free)
    own = here/f'{name}.md'
    make = dict(markdown=nbformat.v4.new_markdown_cell, code=nbformat.v4.new_code_cell)
    cells = lesson_cells(own.read_text(encoding='utf-8'), {}) if own.is_file() else []
    nb.cells += [make[kind](source, id=id) for id, kind, source in cells]
    return nb

def write(name, folder, opening):
    "The notebook, executed"
    path = here/f'{name}.ipynb'
    nb = notebook_of(name, path_from(path, folder), opening)
    execute(nb)
    path.write_text(nbformat.writes(nb) + '\n', encoding='utf-8')
    print(f'{path.relative_to(repo)}: {path.stat().st_size/1000:.0f} kB')

def kept(name):
    "The opening of the existing notebook, up to the last row of its table"
    return re.match(r'.+?\n\| Command \|[^\n]+', nbformat.read(here/f'{name}.ipynb', 4).cells[0].source, re.S)[0]

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', metavar='NAME', default=names, help=f'of {", ".join(names)}; default: all')
    data = 'folder of the data sets that are not in this repository'
    parser.add_argument('--data', type=Path, default=repo.parent/'shared'/'data', help=data)
    parser.add_argument('--keep', action='store_true', help='measure nothing: keep the openings and execute the notebooks again')
    args = parser.parse_args()
    os.environ['QUICKCLS_QUIET'] = '1'
    for name in args.names:
        folder = repo/'datasets'/name if name in free else args.data.expanduser()/name
        if not folder.is_dir(): print(f'{name}: skipped, no folder {folder}')
        elif args.keep: write(name, folder, kept(name))
        else: make(name, folder)
