"""How many held-out images are unusual, how many are refused, and how many foreign ones: `python -m tests.benchmarks refused`.

Every set is embedded once; the rest is arithmetic on arrays, so many splits can be drawn: random ones, and given sides.
`casting` has 300 and 2,900 of its training images. `lego_bricks` is also split by whole stretches of a shoot: the crops of a photo
and the photos next to it are then on one side. All other sets are the foreign images, fifty of each class at most.
Two views are lite0 at 224 and 320 pixels with a ridge head, as in `--quality good`.
Prints one JSON object a line."""
import csv, json, os, random, re, sys, tempfile
from pathlib import Path
import numpy as np
from scipy.stats import betabinom
from quickcls.backbones.onnx_graph import get_graph
from quickcls.backbones.registry import parse_views
from quickcls.data.items import Items, class_numbers, scan_folder
from quickcls.data.split import split_items
from quickcls.evaluate.none_of_these import none_of_these
from quickcls.features.embed import Embeddings, late_columns
from quickcls.heads.calibration import calibrate
from quickcls.heads.crossval import cross_validate
from quickcls.heads.fit import fit_head
from quickcls.heads.head import softmax
from quickcls.heads.open_set import refused

parts = Path(__file__).parents[2]/'datasets'/'parts'
heads = {'efficientnet_lite0': 'linear', 'efficientnet_lite0+efficientnet_lite0@320': 'ridge'}

def linked(folder, files):
    "Links to files in a new folder"
    folder.mkdir(parents=True)
    for f in files: os.symlink(f, folder/f.name)

def some_castings(data, out, n):
    "A folder with `n` training images of the castings, and 250 test images of each class"
    rng = random.Random(0)
    for label in ('def_front', 'ok_front'):
        for side, most in (('train', n//2), ('test', 250)):
            files = sorted((data/'casting'/side/label).iterdir())
            linked(out/side/label, rng.sample(files, min(most, len(files))))
    return out

def posters(data, out):
    "Films by their first genre, of genres with eight or more"
    files, of = {p.name: p for p in (data/'movie_posters'/'images').iterdir()}, {}
    with open(data/'movie_posters'/'labels.csv', newline='') as f:
        for r in csv.DictReader(f):
            if r['image'] in files: of.setdefault(r['labels'].split()[0], []).append(files[r['image']])
    for genre, found in of.items():
        if len(found) >= 8: linked(out/genre, found)
    return out

def folders(data, tmp):
    "Name → folder of labelled images"
    plain = {n: data/n for n in ('flowers', 'hymenoptera', 'dogs_angry_happy', 'trashnet', 'lego_bricks')}
    return dict(parts=parts, magnetic_tile=data/'magnetic_tile'/'images', movie_posters=posters(data, tmp/'posters'), **plain,
                casting_300=some_castings(data, tmp/'few', 300), casting_2900=some_castings(data, tmp/'many', 2900))

def stretches(table, seed):
    "A quarter of the photo numbers of each class as the test side, one after the other"
    number = table.path.str.extract(r'photo(\d+)')[0].astype(int)
    def held(numbers):
        each = np.unique(numbers)
        k = len(each)//4
        return numbers.isin(each[k*(seed % 4):k*(seed % 4) + k])
    return table.assign(split=np.where(number.groupby(table.label).transform(held), 'test', 'train'))

def splits(name, table, n):
    "(how it was split, tables with their splits)"
    if 'test' in set(table.split) or 'valid' in set(table.split): yield 'given', [table]
    if name != 'casting_2900': yield 'random', [split_items(Items('', table.assign(split=None)), seed=s).table for s in range(n)]
    if name == 'lego_bricks': yield 'stretches', [stretches(table, s) for s in range(4)]

def asked(table, x, vocab, late, head, foreign):
    "(unusual, refused, of these right, of these sure) of the held-out images, their paths, training images, foreign ones refused"
    y, train = class_numbers(table.label, vocab), (table.split == 'train').to_numpy()
    groups = table.group.to_numpy().astype(str)
    fitted = fit_head(head, (x[train], y[train]), (x[~train], y[~train]), n_out=len(vocab), groups=groups[train], epochs=10, seed=42)
    given = 'test' in set(table.split)
    rows = np.concatenate([np.flatnonzero(train), [] if given else np.flatnonzero(~train)]).astype(int)
    cv = cross_validate(x[rows], y[rows], groups[rows], n_out=len(vocab), head=head, c=fitted.notes.get('C'))
    t = calibrate(cv, train[rows]).temperature
    o, _ = none_of_these(table.iloc[rows], x[rows], vocab, cv, fitted, t, late=late)
    def said(a):
        logits = fitted.logits(a)/t
        p, s = softmax(logits).max(1), o.score(a, logits)
        return s < o.threshold, refused(s, p, o.threshold, o.sure, o.floor), p, logits.argmax(1)
    unusual, out, p, answer = said(x[~train])
    right = out & (answer == y[~train])
    other = {n: float(said(a)[1].mean()) for n, a in foreign.items()}
    return [unusual.sum(), out.sum(), right.sum(), (right & (p >= .95)).sum()], list(table.path[~train]), int(train.sum()), other

def measure(data, n, tmp):
    where = folders(data, tmp)
    items = {name: scan_folder(str(folder)) for name, folder in where.items()}
    for arch, head in heads.items():
        e = Embeddings([get_graph(v) for v in parse_views(arch)])
        found = {}
        for name, i in items.items():
            e.embed(i)
            found[name] = i.table.reset_index(drop=True), e.read(i.table)
        few = {k: x[t.groupby('label').head(50).index] for k, (t, x) in found.items() if k != 'casting_2900'}
        late = late_columns(e.graphs, 'all')
        for name, (table, x) in found.items():
            foreign = {k: v for k, v in few.items() if re.split('_', k)[0] != re.split('_', name)[0]}
            for how, tables in splits(name, table, n):
                counts, paths, trained, other = zip(*(asked(t, x, items[name].vocab, late, head, foreign) for t in tables))
                say(name, how, arch, np.sum(counts, 0).tolist(), paths, int(np.mean(trained)), other)

def say(name, how, arch, counts, paths, n_train, other):
    "One line: the counts, the range that chance allows, and the share of foreign images refused"
    asked, different = sum(map(len, paths)), len(set().union(*paths))
    k = .05*(n_train + 1) # of the training images give the threshold; the others are above it
    low, high = betabinom(different, k, n_train + 1 - k).ppf([.025, .975])/different
    print(json.dumps(dict(
        name=name, how=how, views=arch.count('+') + 1, splits=len(paths), n_train=n_train, n=asked, different=different,
        **dict(zip(('unusual', 'refused', 'right', 'sure'), counts)), low=round(float(low), 4), high=round(float(high), 4),
        foreign=round(float(np.mean([v for o in other for v in o.values()])), 4))), flush=True)

if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as tmp: measure(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 6, Path(tmp))
