"""How well images of other things, and kinds left out of training, are noticed: run by `python -m tests.benchmarks unknown`.

Each set is trained as `quickcls train` does, sets without splits of their own three times, with other seeds. All other sets are the
out-of-distribution images, fifty of each class at most.
Prints one JSON object a line. `python -m tests.benchmarks.none_of_these DATA near` trains with `--near-kinds`."""
import json, os, sys, tempfile, time
from pathlib import Path
import numpy as np
from sklearn.metrics import roc_auc_score
from quickcls.all import Classifier, train
from quickcls.data.split import scan_loose
from quickcls.features.embed import Embeddings
from quickcls.backbones.onnx_graph import get_graph
from quickcls.heads.head import softmax

names, left = ('flowers', 'hymenoptera', 'casting', 'trashnet', 'dogs_angry_happy'), ('flowers', 'trashnet', 'lego_bricks')
others = (*names, 'lego_bricks', 'magnetic_tile/images', 'sushi_tiny', 'bears_web', 'movie_posters')
say = lambda **row: print(json.dumps(row), flush=True)

def area(known, foreign): return float(roc_auc_score(np.repeat([1, 0], [len(known), len(foreign)]), np.concatenate([known, foreign])))

def score(clf, x):
    "Known scores before they are cut off at 0: what is far below the least familiar known image still has an order"
    from quickcls.heads.open_set import combined
    return combined(clf.open_set.components(x, clf.head.logits(x)/clf.temperature), clf.open_set.arrays['witnesses'])

def said(clf, x):
    "(is it unusual? is it none of these?) of each embedding"
    logits = clf.head.logits(x)/clf.temperature
    verdicts = clf.open_set.verdicts(clf.open_set.score(x, logits), softmax(logits).max(1))
    return tuple(np.array([v[what] for v in verdicts]) for what in ('unusual', 'unknown'))

def some_of(folder, most=50):
    "Images below a folder, `most` of each folder at most"
    t = scan_loose(folder).table
    return t.groupby(t.path.map(lambda p: str(Path(p).parent)), sort=False).head(most)

def embedded(table):
    "Embeddings of the default view, from the store"
    from quickcls.backbones.registry import parse_views
    from quickcls.data.items import Items
    e, items = Embeddings([get_graph(parse_views('efficientnet_lite0')[0])]), Items('', table.reset_index(drop=True))
    e.embed(items)
    return e.read(items.table)

def trained(folder, out, **kwargs):
    how = dict(arch='efficientnet_lite0', force=True, quiet=True, no_images=True, near_kinds='near' in sys.argv[2:])
    return train(folder, out=out, **how, **kwargs)


def held_out(clf): return embedded(clf.evaluate().table)

def against_others(data, tmp):
    foreign = {o: embedded(some_of(data/o)) for o in others}
    for name in names:
        areas, refused, known = [], [], []
        for seed in ((42,) if (data/name/'train').is_dir() else (42, 1, 2)):
            clf = trained(data/name, tmp/name, seed=seed)
            unusual, out = said(clf, x := held_out(clf))
            known.append([float(unusual.mean()), float(out.mean())])
            strange = {o: score(clf, x) for o, x in foreign.items() if not o.startswith(name)}
            areas.append({o: area(score(clf, x), t) for o, t in strange.items()})
            refused.append(float(np.mean([said(clf, foreign[o])[1].mean() for o in strange])))
        each = {o: float(np.mean([a[o] for a in areas])) for o in areas[0]}
        worst = min(each, key=each.get)
        say(
            what='others',
            name=name,
            area=float(np.mean(list(each.values()))),
            worst=worst,
            worst_area=each[worst],
            refused=float(np.mean(refused)),
            known_unusual=float(np.mean(known, 0)[0]),
            known_refused=float(np.mean(known, 0)[1]),
            splits=len(known),
            mb=sum(a.nbytes for a in clf.open_set.arrays.values()) / 1e6,
        )


def left_out(data, tmp):
    for name in left:
        classes, found = sorted(p.name for p in (data/name).iterdir() if p.is_dir()), {}
        for c in classes:
            part = Path(tempfile.mkdtemp(dir=tmp))/name
            part.mkdir()
            for other in classes:
                if other != c: os.symlink(data/name/other, part/other)
            clf = trained(part, tmp/f'{name}-left')
            known, new = held_out(clf), embedded(scan_loose(data/name/c).table)
            found[c] = area(score(clf, known), score(clf, new)), float(said(clf, new)[1].mean())
        say(
            what='left',
            name=name,
            area=float(np.mean([a for a, _ in found.values()])),
            refused=float(np.mean([r for _, r in found.values()])),
            worst=min(found, key=found.get),
        )


def live_and_saved(data, tmp):
    "The same classifier on its graphs, as before it was saved, and as opened from its folder"
    saved = trained(data/'flowers', tmp/'flowers')
    live = Classifier(
        saved.vocab, saved.views, saved.levels, saved.head, saved.temperature, saved.open_set, graphs=[get_graph(v) for v in saved.views]
    )
    photos = [p for o in ('flowers', 'trashnet') for p in some_of(data/o, 10).path]
    say(
        what='live',
        difference=max(abs(a.known_score - b.known_score) for a, b in zip(live.predict(photos), saved.predict(photos))),
        n=len(photos),
    )


def seconds(data, tmp):
    "One image with and without the question, in turn"
    clf, bare = Classifier.load(tmp/'casting'), Classifier.load(tmp/'casting')
    bare.open_set = None
    photo, times = next((data/'casting'/'test').rglob('*.jpeg')), {True: [], False: []}
    for i in range(240):
        t = time.perf_counter()
        (clf if i % 2 else bare).predict(photo)
        if i >= 40: times[bool(i % 2)].append(time.perf_counter() - t)
    say(what='seconds', slower=float(np.median(times[True]) - np.median(times[False])), n=len(clf.open_set.images))

if __name__ == '__main__':
    data = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as tmp:
        for part in (against_others, left_out, live_and_saved, seconds): part(data, Path(tmp))
