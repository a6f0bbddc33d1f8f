"""Rows of `python -m tests.benchmarks.heads`: heads of views averaged, choices of stages, finer grids, crops."""
import numpy as np
from quickcls.heads.fit import fit_head
from quickcls.heads.head import softmax
from quickcls.heads.linear import choose_c, fit_logistic, linear_head, rotated, standardised, stratified_folds
from tests.benchmarks.head_views import arch, best, corners, more

joins = {'two views of one network': (arch, more[0]), 'three views': (arch, *more), 'two networks, one cropped': (arch, best),
         'two networks, both larger': (more[0], best), 'three views, one cropped': (arch, more[0], best), 'four views': (arch, *more, best)}
shares = (.1, .3, 1.) # of columns that may be kept

class Fold:
    "Training rows `a` and test rows `b` of the images of a folder, and the logits that heads give for the test rows"
    def __init__(self, v, a, b, strengths):
        self.v, self.a, self.b, self.strengths, self.heads = v, a, b, strengths, {}
        self.x, self.y = v.rows[arch], v.y

    def head(self, kind, views):
        "A head on the joined views"
        if (key := (kind, views)) not in self.heads:
            x, y, how = np.concatenate([self.v.rows[n] for n in views], 1), self.y, dict(n_out=self.v.n_out)
            c = self.strength(key, lambda: fit_head(kind, (x, y), (x, y), groups=self.v.groups, **how).notes['C'])
            train = x[self.a], y[self.a]
            self.heads[key] = fit_head(kind, train, train, groups=self.v.groups[self.a], c=c, **how)
        return self.heads[key]

    def logits(self, kind, views): return self.head(kind, views).logits(np.concatenate([self.v.rows[n][self.b] for n in views], 1))

    def strength(self, key, choose):
        "The strength of a row, chosen once on the whole set"
        if key not in self.strengths: self.strengths[key] = choose()
        return self.strengths[key]

    def linear(self, name, parts):
        "Logits of a linear head on some blocks of columns; `parts` holds (columns, weight)"
        c = self.strength(name, lambda: choose_c(joint(parts), self.y, self.v.groups)[0])
        return answers(joint(parts, self.a), self.y, self.a, self.b, c)

def joint(parts, a=slice(None)):
    "Rows with the inner products of blocks of columns, each standardised by the rows `a` and times its weight"
    blocks = []
    for x, weight in parts:
        _, mean, var = standardised(x[a])
        blocks.append(((x - mean)*np.sqrt(weight/var)).astype(np.float32))
    return rotated(np.concatenate(blocks, 1))

def answers(z, y, a, b, c, tol=1e-4):
    "Logits for the rows `b` of a linear head on the rows `a`"
    return linear_head('linear', fit_logistic(z[a], y[a], c, tol=tol), 0, 1, {}).logits(z[b])

def of_views(fold):
    "Several views: one head on all columns; a head each, averaged in probabilities or in logits"
    for name, views in joins.items():
        for kind in ('linear', 'ridge') if name == 'three views' else ('ridge',):
            own = [fold.logits(kind, (n,)) for n in views]
            yield f'{name} joined, {kind}', fold.logits(kind, views)
            yield f'{name}, {kind} each, mean of probabilities', sum(map(softmax, own))
            yield f'{name}, {kind} each, mean of logits', sum(own)

def of_stages(fold):
    "One view: which stages of the network a head sees"
    blocks = np.split(fold.x, np.cumsum([2*n for n in fold.v.levels])[:-1], 1)
    last, earlier = (blocks[0], 1), [(x, 1) for x in blocks[1:]]
    yield 'last stage alone', (own := fold.linear('last', [last]))
    yield 'a head for the last stage and one for the others, mean of logits', own + fold.linear('earlier', earlier)
    yield 'stages by forward choice', forward(fold, blocks)
    yield 'columns by group lasso', sparse(fold)

def forward(fold, blocks):
    "A head on the stages that lower the log loss within the training images, the last stage first"
    c, y, a = fold.strengths['linear', (arch,)], fold.y, fold.a
    inner = [(a[i], a[j]) for i, j in stratified_folds(y[a], fold.v.groups[a], 3)]
    def loss(chosen):
        z = joint([(blocks[i], 1) for i in chosen], a)
        return np.mean([-np.log(softmax(answers(z, y, i, j, c, 1e-2))[np.arange(len(j)), y[j]] + 1e-6).mean() for i, j in inner])
    chosen, lowest = [0], loss([0])
    while left := [i for i in range(len(blocks)) if i not in chosen]:
        found = {i: loss([*chosen, i]) for i in left}
        new = min(found, key=found.get)
        if found[new] >= lowest: break
        chosen, lowest = [*chosen, new], found[new]
    return answers(joint([(blocks[i], 1) for i in chosen], a), y, a, fold.b, c)

def sparse(fold):
    "A head on the columns with the largest weights of a group lasso; their share by cross-validation (Head2Toe)"
    c, y, a = fold.strengths['linear', (arch,)], fold.y, fold.a
    def right(i, j, share, order):
        some = fold.x[:, order[:int(share*len(order))]]
        return (answers(joint([(some, 1)], i), y, i, j, c, 1e-3).argmax(1) == y[j]).mean()
    found = {s: [] for s in shares}
    for i, j in stratified_folds(y[a], fold.v.groups[a], 3):
        i, j = a[i], a[j]
        order = group_lasso(fold.x[i], y[i], fold.v.n_out)
        for s in shares: found[s].append(right(i, j, s, order))
    share = max(shares, key=lambda s: np.mean(found[s]))
    order = group_lasso(fold.x[a], y[a], fold.v.n_out)
    return answers(joint([(fold.x[:, order[:int(share*len(order))]], 1)], a), y, a, fold.b, c)

def group_lasso(x, y, n_out, steps=40, part=.05):
    "Columns by the length of their weights under a penalty on those lengths, the longest first; of equals by their first gradient"
    z, *_ = standardised(x)
    target = np.eye(n_out, dtype=np.float32)[y]
    rate = 2*len(z)/np.linalg.norm(z @ z.T, 2) # the softmax bends by 1/2 at most
    first = np.linalg.norm(z.T @ (target - target.mean(0)), axis=1)/len(z)
    w = before = np.zeros((z.shape[1], n_out), np.float32)
    for t in range(steps): # FISTA
        at = w + (t - 1)/(t + 2)*(w - before) if t else w
        new = at + rate*(z.T @ (target - softmax(z @ at + np.log(target.mean(0)))))/len(z)
        length = np.linalg.norm(new, axis=1, keepdims=True)
        before, w = w, new*np.maximum(0, 1 - rate*part*first.max()/np.maximum(length, 1e-12))
    return np.lexsort((-first, -np.linalg.norm(w, axis=1)))

def of_grids(fold):
    "One view: averages over the cells of a grid beside those of the whole map; a grid counts as much as its map"
    grids = fold.v.grids
    for name, keys in (('2 × 2', [(0, 2)]), ('3 × 3', [(0, 3)]), ('2 × 2 of the last two maps', [(0, 2), (1, 2)])):
        yield f'and a grid of {name}', fold.linear(f'grid {name}', [(fold.x, 1), *((grids[k], 1/k[1]**2) for k in keys)])

def of_crops(fold):
    "One view: the image and crops of it, at prediction and in training"
    v, a, b = fold.v, fold.a, fold.b
    for n in (2, 4):
        copies = [fold.x, *(v.copies[at] for at in corners[:n])]
        c = fold.strengths['linear', (arch,)]
        train = np.concatenate([x[a] for x in copies]), np.tile(fold.y[a], n + 1)
        def mean(head): return sum(head.logits(x[b]) for x in copies)
        every = fit_head('linear', train, train, n_out=v.n_out, c=c)
        yield f'the image and {n} crops, mean of logits', mean(fold.head('linear', (arch,)))
        yield f'the image and {n} crops, trained on all, mean of logits', mean(every)
        yield f'trained on {n} crops too', every.logits(fold.x[b])

groups = (of_views, of_stages, of_grids, of_crops)
