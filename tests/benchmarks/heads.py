"""Other heads, other ways to join views, and mirrored copies at test time, beside the default head: cross-validated accuracy.

    python -m tests.benchmarks.heads [FOLDER …]   # a table; without folders, all sets that are there

Five folds, three seeds, look-alikes and duplicates in one fold, the same folds for every row. The strength of `linear` and `ridge` is
chosen once on the whole set, as a training does, which flatters both a little; the others choose theirs within each fold, and
`ridge by shots` takes the constant that is best on all other sets. Methods: LDA (Fisher 1936, with the shrinkage of Ledoit and Wolf
2004), random ReLU features with ridge (Rahimi and Recht 2007; RanPAC, McDonnell et al. 2023)."""
import sys
from pathlib import Path
import numpy as np
from quickcls.backbones.engines import open_engine
from quickcls.backbones.onnx_graph import get_graph
from quickcls.backbones.registry import parse_views
from quickcls.data.images import load_image
from quickcls.data.items import class_numbers
from quickcls.features.embed import embed_images, embed_items, read_items
from quickcls.features.store import Store, recipe_of, store_key
from quickcls.groups.splitting import LookAlikes
from quickcls.heads.fit import fit_head
from quickcls.heads.head import softmax
from quickcls.heads.linear import calm, stratified_folds
from tests.benchmarks.limit import sample
from tests.benchmarks.precisions import sets

arch = 'efficientnet_lite0'
more = ('efficientnet_lite0@320', 'efficientnet_lite2')
seeds, most = (1, 2, 3), 480
constants = (.003, .01, .03, .1, .3, 1., 3., 10.) # of `ridge by shots`: strength = constant · columns / images of a class

class Views:
    "The embeddings of the images of a folder, by view"
    def __init__(self, folder):
        self.items, self.store = sample(folder, most), Store()
        self.rows = {}
        for name in (arch, *more): self.rows[name] = self._embedded(name)
        t = self.items.table
        self.y, self.n_out, self.groups = class_numbers(t.label, self.items.vocab), len(self.items.vocab), t.group.to_numpy()

    def _embedded(self, name):
        view, = parse_views(name)
        graph = get_graph(view, offline=True)
        engine = open_engine(graph, device='cpu')
        embed_items(self.items, graph, engine=engine, store=self.store)
        if name == arch:
            LookAlikes('auto').find_early(self.items, [graph])
            self.mirrored = self._mirrored(graph, engine)
        return read_items(self.items.table, graph, engine=engine, store=self.store)

    def _mirrored(self, graph, engine):
        "Embeddings of the images, each seen in a mirror"
        t, view, recipe = self.items.table, graph.view, recipe_of(graph, engine.precision, 'mirror')
        def load(p): return np.ascontiguousarray(np.asarray(load_image(p, view.size, view.resize))[:, ::-1])
        keys = [store_key(h, recipe) for h in t.sha256]
        embed_images(list(zip(keys, t.path)), load, engine=engine, store=self.store, recipe=recipe, desc='mirrored')
        return self.store.get(keys, graph.dim)

def standard(a, *others):
    "Columns of mean 0 and deviation 1, by those of the training images"
    mean, std = a.mean(0), a.std(0) + 1e-6
    return [(x - mean)/std for x in (a, *others)]

def lda(a, ya, b, _):
    "Logistic regression in the directions of linear discriminant analysis"
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    before = PCA(min(len(a)//4, 256), random_state=0) # with as many directions as images, LDA separates whatever it has seen
    model = make_pipeline(before, LinearDiscriminantAnalysis(solver='eigen', shrinkage='auto'), StandardScaler(),
                          LogisticRegressionCV(Cs=6, cv=3, max_iter=500))
    a, b = standard(a, b)
    return model.fit(a, ya).predict(b)

def relu(a, ya, b, seed, n=4096):
    "Ridge on random features, each the positive part of a random direction"
    from sklearn.linear_model import RidgeClassifierCV
    a, b = standard(a, b)
    w = np.random.default_rng(seed).normal(size=(a.shape[1], n)).astype(np.float32)/a.shape[1]**.5
    a, b = standard(np.maximum(a @ w, 0), np.maximum(b @ w, 0))
    return RidgeClassifierCV(alphas=10.**np.arange(0, 7)).fit(a, ya).predict(b)

def by_shots(a, ya, b, n_out):
    "Class numbers by ridge for each of `constants`"
    a, b = standard(a, b)
    gram, cross, target = (a @ a.T).astype(float), (b @ a.T).astype(float), np.eye(n_out)[ya]
    mean = target.mean(0)
    strength = a.shape[1]*n_out/len(a)
    return [(cross @ np.linalg.solve(gram + c*strength*np.eye(len(a)), target - mean) + mean).argmax(1) for c in constants]

def measured(folder):
    "{method: accuracies, one a seed} of a folder; those of `ridge by shots` are a row for each constant"
    v = Views(folder)
    x, y, k, groups = v.rows[arch], v.y, v.n_out, v.groups
    joined = np.concatenate([v.rows[n] for n in (arch, *more)], 1)
    def strength(kind, z): return fit_head(kind, (z, y), (z, y), n_out=k, groups=groups).notes.get('C')
    with calm():
        c = {(kind, name): strength(kind, z) for kind in ('linear', 'ridge') for name, z in (('one', x), ('joined', joined))}
        c |= {('linear', n): strength('linear', v.rows[n]) for n in more}
    found = {}
    for seed in seeds:
        right = {}
        for a, b in stratified_folds(y, groups, 5, seed):
            def note(name, numbers): right.setdefault(name, []).append(numbers == y[b])
            def head(kind, z, name): return fit_head(kind, (z[a], y[a]), (z[b], y[b]), n_out=k, groups=groups[a], c=c[kind, name])
            with calm():
                plain = head('linear', x, 'one')
                own = plain.logits(x[b])
                note('linear (the default)', own.argmax(1))
                note('linear, and its mirror image', (own + plain.logits(v.mirrored[b])).argmax(1))
                note('ridge', head('ridge', x, 'one').logits(x[b]).argmax(1))
                note('LDA, then linear', lda(x[a], y[a], x[b], seed))
                note('random ReLU, then ridge', relu(x[a], y[a], x[b], seed))
                for const, numbers in zip(constants, by_shots(x[a], y[a], x[b], k)): note(const, numbers)
                probs = [softmax(own), *(softmax(head('linear', v.rows[n], n).logits(v.rows[n][b])) for n in more)]
                note('three views, mean of probabilities', sum(probs).argmax(1))
                for kind in ('linear', 'ridge'):
                    note(f'three views joined, {kind}', head(kind, joined, 'joined').logits(joined[b]).argmax(1))
        for name, parts in right.items(): found.setdefault(name, []).append(float(np.concatenate(parts).mean()))
    return found

def with_shots(found):
    "The accuracies of each set with one row for `ridge by shots`: its constant is the best one of all other sets"
    for name, rows in found.items():
        others = [r for n, r in found.items() if n != name] or [rows]
        best = max(constants, key=lambda c: np.mean([np.mean(r[c]) for r in others]))
        rows['ridge by shots'] = rows[best]
    return {n: {m: a for m, a in rows.items() if m not in constants} for n, rows in found.items()}

def main(folders):
    import pandas as pd
    found = {}
    for folder in folders:
        name = folder.parent.name if folder.name == 'images' else folder.name
        found[name] = measured(folder)
        print(name, {m: round(float(np.mean(a)), 4) for m, a in found[name].items() if m not in constants}, flush=True)
    found = with_shots(found)
    t = pd.DataFrame({n: {m: np.mean(a) for m, a in rows.items()} for n, rows in found.items()})
    gain = t - t.loc['linear (the default)']
    t['mean gain'], t['better on'], t['worse on'] = 100*gain.mean(1), (gain > .001).sum(1), (gain < -.001).sum(1)
    print(t.round(4).to_string())

if __name__ == '__main__':
    root = Path(__file__).parents[2]
    here = [root.parent/'shared'/'data'/n for n in sets]
    main([Path(p) for p in sys.argv[1:]] or [root/'datasets'/'parts', *(p for p in here if p.is_dir())])
