"""Several kinds in one image, from single-label training: how many are found, how many are made up, and where.

    python -m tests.benchmarks.several_kinds DATA COLLAGES SEED…    # one line of JSON a seed

DATA holds flowers, dogs_angry_happy, trashnet and lego_bricks. For each seed a classifier is trained on 70 % of flowers. Collages are
made of the other 30 % and of other photographs (`tests.benchmarks.collages`). The same held-out flowers by themselves, and other
photographs, are asked about too. What was chosen for `quickcls.explain.regions` was chosen on collages from within the training
splits, with classifiers that were trained on a part of these."""
import json, sys, tempfile, time
from pathlib import Path
import numpy as np
import quickcls.explain.regions # adds `Classifier.tag`
from quickcls.train.pipeline import train
from quickcls.data.items import scan_folder
from quickcls.data.split import split_items
from tests.benchmarks.collages import collages

def overlap(a, b):
    "Intersection over union of two boxes"
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0]))*max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared/((a[2] - a[0])*(a[3] - a[1]) + (b[2] - b[0])*(b[3] - b[1]) - shared)

def kinds(clf, image):
    "({label: box of the surest}, boxes in all)"
    tags = clf.tag(image)
    if tags.error: raise RuntimeError(tags)
    return {f['label']: f['box'] for f in reversed(tags.found)}, len(tags.found)

def measure(data, n, seed):
    "Counts for one split"
    with tempfile.TemporaryDirectory() as d:
        return _measured(
            data, train(str(data / 'flowers'), out=f'{d}/m', arch='efficientnet_lite0', valid_pct=0.3, seed=seed, quiet=True), n, seed
        )


def _measured(data, clf, n, seed):
    t = split_items(scan_folder(data/'flowers'), valid_pct=.3, seed=seed).table
    held = list(zip(t.path[t.split == 'valid'], t.label[t.split == 'valid']))
    dogs, waste, lego = (
        sorted(p for p in (data / s).rglob('*') if p.suffix in ('.jpg', '.png')) for s in ('dogs_angry_happy', 'trashnet', 'lego_bricks')
    )
    c = dict(accuracy=clf.info['metrics']['accuracy'], images=0, kinds=0, found=0, false=0, boxes=0, again=0)
    seconds = []
    for im, truth in collages(held, (dogs + waste)[1::2], n, 1000 + seed):
        t0 = time.perf_counter()
        got, boxes = kinds(clf, im)
        seconds.append(time.perf_counter() - t0)
        truth = dict(truth)
        hit = [k for k in truth if k in got]
        for k, v in dict(
            images=1,
            kinds=len(truth),
            found=len(hit),
            false=len(set(got) - set(truth)),
            boxes=sum(overlap(got[k], truth[k]) >= 0.3 for k in hit),
            again=boxes - len(got),
        ).items():
            c[k] += v
    singles = [(kinds(clf, p)[0], label) for p, label in held[::2]]
    foreign = [kinds(clf, p)[0] for p in dogs[::20] + waste[::48] + lego[::24]]
    return c | dict(
        seconds=float(np.median(seconds)),
        singles=len(singles),
        single_found=sum(l in k for k, l in singles),
        single_false=sum(len(set(k) - {l}) for k, l in singles),
        foreign=len(foreign),
        foreign_false=sum(map(len, foreign)),
    )


if __name__ == '__main__':
    for seed in map(int, sys.argv[3:]): print(json.dumps(dict(seed=seed) | measure(Path(sys.argv[1]), int(sys.argv[2]), seed)), flush=True)
