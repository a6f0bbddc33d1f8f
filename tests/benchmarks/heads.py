"""Other heads, other ways to join views, and mirrored copies at test time, beside the default head: cross-validated accuracy.

    python -m tests.benchmarks.heads [FOLDER …]   # a table; without folders, all sets that are there

Five folds, three seeds, look-alikes and duplicates in one fold, the same folds for every row. The strength of `linear` and `ridge` is
chosen once on the whole set, as a training does, which flatters both a little; the others choose theirs within each fold, and
`ridge by shots` takes the constant that is best on all other sets. Methods: LDA (Fisher 1936, with the shrinkage of Ledoit and Wolf
2004), random ReLU features with ridge (Rahimi and Recht 2007; RanPAC, McDonnell et al. 2023), columns
by group lasso (Head2Toe, Evci et al. 2022)."""
import sys
from pathlib import Path
import numpy as np
from quickcls.heads.linear import calm, stratified_folds
from tests.benchmarks import head_rows
from tests.benchmarks.head_views import Views, arch
from tests.benchmarks.precisions import sets

default = 'linear (the default)'
seeds = (1, 2, 3)
constants = (.003, .01, .03, .1, .3, 1., 3., 10.) # of `ridge by shots`: strength = constant · columns / images of a class

def standard(a, *others):
    "Columns of mean 0 and deviation 1, by those of the training images"
    mean, std = a.mean(0), a.std(0) + 1e-6
    return [(x - mean)/std for x in (a, *others)]

def lda(a, ya, b):
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

def relu(a, ya, b, seed=1, n=4096):
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

def of_heads(fold):
    "One view: other heads than the default"
    v, a, b = fold.v, fold.a, fold.b
    data = fold.x[a], v.y[a], fold.x[b]
    yield default, (own := fold.logits('linear', (arch,)))
    yield 'linear, and its mirror image', own + fold.head('linear', (arch,)).logits(v.copies['mirror'][b])
    yield 'ridge', fold.logits('ridge', (arch,))
    yield 'LDA, then linear', lda(*data)
    yield 'random ReLU, then ridge', relu(*data)
    yield from zip(constants, by_shots(*data, v.n_out))

def numbers(found): return found if found.ndim == 1 else found.argmax(1) # some rows give class numbers, others logits

def measured(folder):
    "{method: accuracies, one a seed} of a folder; those of `ridge by shots` are a row for each constant"
    v, found, strengths = Views(folder), {}, {}
    for seed in seeds:
        right = {}
        for a, b in stratified_folds(v.y, v.groups, 5, seed):
            fold = head_rows.Fold(v, a, b, strengths)
            with calm():
                for rows in (of_heads, *head_rows.groups):
                    for name, got in rows(fold): right.setdefault(name, []).append(numbers(got) == v.y[b])
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
    gain = t - t.loc[default]
    t['mean gain'], t['better on'], t['worse on'] = 100*gain.mean(1), (gain > .001).sum(1), (gain < -.001).sum(1)
    print(t.round(4).to_string())

if __name__ == '__main__':
    root = Path(__file__).parents[2]
    here = [root.parent/'shared'/'data'/n for n in sets]
    main([Path(p) for p in sys.argv[1:]] or [root/'datasets'/'parts', *(p for p in here if p.is_dir())])
