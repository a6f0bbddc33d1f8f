"""Scores for images of a kind that was left out of training, beside those that the library uses: areas under the ROC curve.

    python -m tests.benchmarks.near_kinds [DATA]   # a table

Each class of flowers, trashnet and lego_bricks is left out once. The rest is split three times: two thirds are learned from, one
third is known. `left out`: known images against those of the class. `foreign`: known images against other sets. `fp95`: share of the
left-out class that passes where 95 % of the known images do. Spreads of the components come from a split within the training images.
Methods: fDBD (Liu and Qin 2024), relative Mahalanobis distance (Ren et al. 2021), NNGuide (Park et al. 2023)."""
import sys
from pathlib import Path
import numpy as np
from sklearn.covariance import ledoit_wolf
from quickcls.data.items import class_numbers, scan_folder
from quickcls.heads.head import softmax
from quickcls.heads.linear import calm, fit_logistic, rotated, standardised, stratified_folds
from quickcls.heads.ood import for_near_kinds, of_images
from quickcls.heads.open_set import OpenSet, combined, unit_rows
from tests.benchmarks.none_of_these import area, embedded, left, others, some_of

late = [(0, 2560)] # of an embedding of EfficientNet-Lite0: maxima and means of its last stage
own = 'nearest', 'within', 'odds', 'texture', 'plain' # what the library multiplies
further = 'fdbd', 'relative', 'guide', 'margin'
usual, near = dict.fromkeys(own, 1), dict(zip(own, for_near_kinds)) # weights of the library, without and with `--near-kinds`
products = {n: {n: 1} for n in (*own, *further)} | {'usual': usual, 'near kinds': near, 'nearest, odds': dict(nearest=1, odds=1)}
products |= {f'{name}, {n}': weights | {n: 1} for name, weights in (('usual', usual), ('near kinds', near)) for n in further}

class Scores:
    "All components, learned from some images"
    def __init__(self, x, z, y, c=.01):
        self.known, self.head, self.y, self.center = of_images(OpenSet(late, {}), x), fit_logistic(z, y, c, tol=1e-3), y, z.mean(0)
        self.sure = softmax(self.head.predict_log_proba(z)).max(1)
        self._gaussians(self.directions(x))

    def directions(self, x): return unit_rows(self.known.coordinates(x)[0][:, :64]) # rows of length 1

    def _gaussians(self, a):
        "Means and inverse covariances, of each class with one covariance, and of all"
        self.means = np.stack([a[self.y == k].mean(0) for k in np.unique(self.y)])
        self.within_inv, self.all_inv = (np.linalg.inv(ledoit_wolf(v)[0]) for v in (a - self.means[self.y], a - a.mean(0)))
        self.middle = a.mean(0)

    def relative(self, a):
        def far(d, inv): return ((d @ inv)*d).sum(-1)
        return far(a - self.middle, self.all_inv) - np.min([far(a - m, self.within_inv) for m in self.means], 0)

    def fdbd(self, z, logits):
        w = self.head.coef_ if len(self.head.coef_) > 1 else np.stack([-self.head.coef_[0], self.head.coef_[0]])/2
        best, found = logits.argmax(1), []
        for i, k in enumerate(best):
            gap = np.abs(logits[i, k] - np.delete(logits[i], k))
            found.append(np.mean(gap/np.linalg.norm(np.delete(w, k, 0) - w[k], axis=1)))
        return np.array(found)/np.linalg.norm(z - self.center, axis=1)

    def __call__(self, x, z):
        "name → score of each image"
        logits, near = self.head.predict_log_proba(z), self.known.similarities(x)
        first = self.known.components(x, logits, near)
        k, best = min(10, near.shape[1]), logits.argmax(1)
        guide = np.sort(near*self.sure, 1)[:, -k:].mean(1)*softmax(logits).max(1)
        mine = self.y == best[:, None]
        margin = np.where(mine, near, -1).max(1) - np.where(mine, -1, near).max(1)
        relative = self.relative(self.directions(x))
        return dict(zip(own, first.T)) | dict(fdbd=self.fdbd(z, logits), relative=relative, guide=guide, margin=margin)

def spread(y, x, z, groups):
    "Mean and deviation of each component over training images, each held out of what it is computed from"
    parts = []
    for s, t in stratified_folds(y, groups, 3, 0): parts.append(Scores(x[s], z[s], y[s])(x[t], z[t]))
    found = {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
    return {n: (float(v.mean()), max(float(v.std()), 1e-3 if n in own else 1e-9)) for n, v in found.items()}

def joined(found, weights, spreads):
    return combined(np.stack([found[n] for n in weights], 1), np.array([(*spreads[n], w) for n, w in weights.items()]))

def passed(known, new): return float((new >= np.quantile(known, .05)).mean())

@calm()
def measured(x, y, groups, foreign):
    "product → mean of (area of a class left out, area of foreign images, share of the left-out class that passes)"
    rows, (zx, mean, var) = {name: [] for name in products}, standardised(x)
    zf = ((foreign - mean)/var**.5).astype(np.float32)
    z, zf = np.split(rotated(np.concatenate([zx, zf])), [len(x)]) # fewer columns, the same inner products
    for k in np.unique(y):
        rest = np.flatnonzero(y != k)
        yo = np.unique(y[rest], return_inverse=True)[1]
        for a, b in stratified_folds(yo, groups[rest], 3, 42):
            at, to = rest[a], rest[b]
            s, spreads = Scores(x[at], z[at], yo[a]), spread(yo[a], x[at], z[at], groups[at])
            known, new, other = s(x[to], z[to]), s(x[y == k], z[y == k]), s(foreign, zf)
            for name, weights in products.items():
                one, two, three = (joined(f, weights, spreads) for f in (known, new, other))
                rows[name].append((area(one, two), area(one, three), passed(one, two)))
    return {n: np.mean(r, 0) for n, r in rows.items()}

def main(data):
    import pandas as pd
    tables = {}
    for name in left:
        items = scan_folder(data/name)
        x, y, groups = embedded(items.table), class_numbers(items.table.label, items.vocab), items.table.group.to_numpy()
        foreign = np.concatenate([embedded(some_of(data/o, 12)) for o in others if not o.startswith(name)])
        found = measured(x, y, groups, foreign)
        tables[name] = pd.DataFrame(found, index=['left out', 'foreign', 'fp95']).T
        print(name, tables[name].loc['usual'].round(4).to_dict(), file=sys.stderr, flush=True)
    print(pd.concat(tables | {'mean': sum(tables.values())/len(tables)}, axis=1).sort_values(('mean', 'left out')).round(4).to_string())

if __name__ == '__main__': main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[3]/'shared'/'data'))
