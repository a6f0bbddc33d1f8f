"""Wrong labels: rows of `make bench`. Labels are flipped by chance, ten times, and looked for by `quickcls.findings.labels`, by confident
learning alone (cleanlab on cross-validated logistic regression) and by a vote of the seven nearest images alone.

The photographs have some labels that are really wrong or cannot be told: in hymenoptera an ant's folder holds a dandelion without an ant,
a wasp's carcass and a placeholder. Whoever names one of them has found no flip, and it counts as false here, for all three.
All three get the same embeddings: those of `quickcls.doctor.examine.look_closer`, where it looks closer.
The numbers in `quickcls.findings.labels` were chosen on waste and flowers, with hymenoptera in view too: by other draws (seeds)
than those here.

`python -m tests.benchmarks labels` runs these alone."""
import time, warnings

draws = range(10)
shares = (.05, .1)
goals = { # (set, share) → (recall, precision)
    ('hymenoptera', .05): (.7, .9),
    ('hymenoptera', .1): (.8, .9),
    ('casting', .05): (.85, .9),
    ('casting', .1): (.85, .95),
}

def examined(folder, most=None, train_only=False):
    "A folder with its embeddings, those of the second network too; at most so many images, drawn by chance"
    import numpy as np
    from quickcls.backbones.registry import parse_views
    from quickcls.data.items import scan_folder
    from quickcls.doctor.examine import look_closer
    from quickcls.features.embed import Embeddings, late_columns
    from quickcls.features.extractors import get_extractors
    from quickcls.findings.finding import Examined
    items = scan_folder(folder)
    t = items.table[items.table.split == 'train'] if train_only else items.table
    if most: t = t.iloc[np.sort(np.random.default_rng(0).permutation(len(t))[:most])]
    items.table = t.reset_index(drop=True)
    e = Embeddings(get_extractors(parse_views('efficientnet_lite0'), items.table.path, offline=True))
    e.embed(items)
    found = Examined(items, e.read(items.table), late_columns(e.graphs, 'all'))
    closer = look_closer(found, offline=True)
    if closer is None: return found
    return Examined(items, closer, [[0, e.graphs[0].nf*2]]) # the columns of a last stage

def flipped(labels, share, seed):
    "(labels of which so many are another class, which ones)"
    import numpy as np
    rng, names = np.random.default_rng(seed), np.unique(labels)
    at = rng.permutation(len(labels))[:round(share*len(labels))]
    y = np.searchsorted(names, labels)
    y[at] = (y[at] + rng.integers(1, len(names), len(at)))%len(names)
    return names[y], np.isin(np.arange(len(labels)), at)

def ours(data):
    "(how doubtful each label is, which are named)"
    import numpy as np
    from quickcls.findings.labels import find_wrong_labels, judge_labels
    j, doubtful = judge_labels(data), np.zeros(len(data.table))
    doubtful[j.rows] = j.chance
    found = {f.images[0] for f in find_wrong_labels(data, judged=j)}
    return doubtful, data.table.path.isin(found).to_numpy()

def confident_learning(data, c):
    "The same by cleanlab as its own pages use it, on cross-validated logistic regression of all levels"
    import numpy as np
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from quickcls.heads.linear import calm, fit_logistic, stratified_folds
    y = np.unique(data.table.label, return_inverse=True)[1]
    p = np.zeros((len(y), y.max() + 1))
    with calm():
        for a, b in stratified_folds(y, data.table.group.to_numpy(), 5):
            p[b] = fit_logistic(c.x[a], y[a], c.strength, tol=1e-3).predict_proba(c.x[b])
    return 1 - get_label_quality_scores(y, p), find_label_issues(y, p, n_jobs=1)

def neighbour_vote(data, near):
    "The same by the seven nearest images: named where more than half of them have one other label"
    import numpy as np
    y = np.unique(data.table.label, return_inverse=True)[1]
    votes = np.stack([(y[near] == k).mean(1) for k in range(y.max() + 1)], 1)
    own = votes[np.arange(len(y)), y]
    votes[np.arange(len(y)), y] = 0
    return votes.max(1) - own, votes.max(1) > .5

class Once:
    "What a rival needs of a set, whatever its labels are"
    def __init__(self, data):
        import numpy as np
        from quickcls.findings.labels import directions_of
        from quickcls.heads.linear import calm, choose_c
        y = np.unique(data.table.label, return_inverse=True)[1]
        self.x = directions_of(data.x)*data.x.shape[1]**.5 # the columns that ours gets, for a fit in seconds
        some = np.random.default_rng(0).permutation(len(y))[:500]
        with calm(): self.strength = choose_c(self.x[some], y[some], some)[0] # by the right labels: in favour of the rival
        late = np.concatenate([data.x[:, a:b] for a, b in data.late], 1)
        late /= np.linalg.norm(late, axis=1, keepdims=True)
        alike = late @ late.T
        np.fill_diagonal(alike, -1)
        self.near = np.argsort(-alike, 1)[:, :7]

def measured(data):
    "{(share, way): mean (recall, precision, average precision, seconds)}"
    import numpy as np
    from sklearn.metrics import average_precision_score
    true, once, found = data.table.label.to_numpy(), Once(data), {}
    ways = {'quickcls': ours, 'confident learning': lambda d: confident_learning(d, once)}
    ways['neighbours'] = lambda d: neighbour_vote(d, once.near)
    for share in shares:
        for seed in draws:
            labels, wrong = flipped(true, share, seed)
            data.items.table = data.table.assign(label=labels)
            for way, of in ways.items():
                t = time.perf_counter()
                doubtful, told = of(data)
                right = (told & wrong).sum()
                row = right/wrong.sum(), right, told.sum(), average_precision_score(wrong, doubtful), time.perf_counter() - t
                found.setdefault((share, way), []).append(row)
    data.items.table = data.table.assign(label=true)
    means = {k: np.mean(v, 0) for k, v in found.items()}
    return {k: (recall, right/max(told, .1), *rest) for k, (recall, right, told, *rest) in means.items()} # of all named in all draws

def wrong_labels(b):
    "Flipped labels: recall, precision and average precision of three ways, and the time for a large set"
    warnings.filterwarnings('ignore')
    for name, most in (('hymenoptera', None), ('casting', 2500), ('flowers', None), ('trashnet', None)):
        folder = b.photos(name)
        if not folder: continue
        data = examined(folder, most, name == 'casting')
        for (share, way), (recall, precision, average, seconds) in measured(data).items():
            goal = goals.get((name, share)) if way == 'quickcls' else None
            b.row(
                f'{name}, {len(data.table):,} images, {share:.0%} flipped: {way}',
                f'{recall:.3f} at {precision:.3f}; AP {average:.3f}; {seconds:.1f} s',
                f'>= {goal[0]} at >= {goal[1]}' if goal else '',
                goal and bool(recall >= goal[0] and precision >= goal[1]),
            )
    folder = b.photos('casting')
    if folder: time_of(b, examined(folder))

def time_of(b, data):
    "How much processor time the search takes on a large set, after the pass"
    from quickcls.findings.labels import find_wrong_labels
    t = time.process_time()
    n = len(find_wrong_labels(data))
    seconds = time.process_time() - t
    b.row(f'casting, {len(data.table):,} images: wrong labels', f'{n} named; {seconds:.1f} s of CPU', '<= 3 s', seconds <= 3)
