"""Nearest neighbours of many images: the search of `quickcls.duplicates.nearest` beside indexes of well-kept libraries.

    python -m tests.benchmarks.nearest [IMAGES …]     # pip install faiss-cpu hnswlib usearch: those that are there are measured

Two drawn kinds of features (256 and 64 columns, in clusters, each twentieth row with a near copy), as `doctor` has them. The
distance is the product of both, for which no library has an index: an index gets both joined, is asked for three times as many
neighbours, and these are put in order by the product. CPU seconds are of all threads. `found` is the share of the true twenty nearest
images of 500, and `copies` the share of the copies among the twenty that were found: those are what a search is for."""
import importlib.util, resource, sys
import numpy as np
from quickcls.duplicates import nearest as ours

k, asked = 20, 500

def drawn(n:int, seed:int=0)->list: # two float32 arrays `[n, d]`
    "Two kinds of features"
    rng = np.random.default_rng(seed)
    kinds, of = [], rng.integers(0, 200, n)
    copies = copied(n)
    for d, directions in ((256, 48), (64, 24)):
        mix = rng.normal(size=(directions, d)).astype(np.float32)/directions**.5
        centres = rng.normal(0, .5, (200, directions)).astype(np.float32)
        x = (centres[of] + rng.standard_normal((n, directions), np.float32)) @ mix + .1*rng.standard_normal((n, d), np.float32)
        x[copies + 1] = x[copies] + .05*rng.standard_normal((len(copies), d), np.float32)
        kinds.append(x)
    return kinds

def copied(n:int): return np.arange(0, n - 1, 20) # the row after each is its copy

def product(features, rows, theirs):
    "Distances of each row to the rows of its list, `[len(rows), m]`"
    return np.prod([((f[theirs] - f[rows][:, None])**2).sum(-1) for f in features], axis=0)**(.5/len(features))

def true_nearest(features, rows):
    "The nearest by all pairs"
    squares = [(f*f).sum(1) for f in features]
    return np.argsort(ours._distances(features, squares, rows, np.arange(len(features[0]))), 1)[:, :k]

def joined(features): return np.ascontiguousarray(np.concatenate([f/f.std() for f in features], 1))

def ordered(features, found):
    "The best of what an index found"
    out = np.zeros((len(found), k), int)
    for i in range(0, len(found), 2000):
        rows = np.arange(i, min(i + 2000, len(found)))
        d = product(features, rows, found[rows])
        d[found[rows] == rows[:, None]] = np.inf
        out[rows] = np.take_along_axis(found[rows], np.argsort(d, 1)[:, :k], 1)
    return out

def here(features): return ours.nearest(features, k)[0]

def all_pairs(features):
    "The same without cells"
    kept, ours.all_pairs_up_to = ours.all_pairs_up_to, len(features[0])
    try: return here(features)
    finally: ours.all_pairs_up_to = kept

def faiss(features):
    import faiss
    x, n = joined(features), len(features[0])
    index = faiss.index_factory(x.shape[1], f'IVF{n//400},Flat')
    index.train(x[:min(n, 40*(n//400))])
    index.add(x)
    index.nprobe = 8
    return ordered(features, index.search(x, 3*k + 1)[1])

def hnswlib(features):
    import hnswlib
    x = joined(features)
    index = hnswlib.Index('l2', x.shape[1])
    index.init_index(len(x), ef_construction=100, M=16)
    index.add_items(x)
    index.set_ef(100)
    return ordered(features, index.knn_query(x, 3*k + 1)[0].astype(int))

def usearch(features):
    from usearch.index import Index
    x = joined(features)
    index = Index(ndim=x.shape[1], metric='l2sq', dtype='f32')
    index.add(np.arange(len(x)), x)
    return ordered(features, np.asarray(index.search(x, 3*k + 1).keys).astype(int))

def cpu(): return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])

def main(sizes):
    methods = dict(all_pairs=all_pairs, ours=here, faiss=faiss, hnswlib=hnswlib, usearch=usearch)
    print(f'{"images":>8}  {"search":<10}{"CPU s":>8}{"found":>8}{"copies":>8}')
    for n in sizes:
        features = drawn(n)
        rows = np.random.default_rng(1).permutation(copied(n))[:asked]
        truth = true_nearest(features, rows)
        for name, search in methods.items():
            if name not in ('all_pairs', 'ours') and not importlib.util.find_spec(name): continue
            if name == 'all_pairs' and n > 60_000: continue # it takes four times as long for twice as many
            start = cpu()
            found, seconds = search(features)[rows], cpu() - start
            share = np.mean([len(set(a) & set(b))/k for a, b in zip(found, truth)])
            copies = np.mean([r + 1 in a for a, r in zip(found, rows)])
            print(f'{n:>8,}  {name:<10}{seconds:>8.1f}{share:>8.1%}{copies:>8.1%}', flush=True)

if __name__ == '__main__': main([int(a) for a in sys.argv[1:]] or [5_000, 20_000, 50_000])
