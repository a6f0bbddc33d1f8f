"""Accuracy under change: `python -m tests.benchmarks stress`, or `python -m tests.benchmarks.stress table|estimate|robust DATA [SET …]`.

Of each set up to 300 images are embedded with lite0 as they are and under all 36 changes, through the store. Then a set is halved
(look-alikes stay together), a linear head is fitted on one half and asked about the other, and the reverse; rows are pooled over both.

- `table`: the accuracy of each change at each strength.
- `estimate`: the expected accuracy without labels, each row by a model of correctness whose fit left out the row's family of changes;
  beside it the mean confidence, average thresholded confidence (Garg et al., 2022), the difference of confidences (Guillory et al., 2021).
- `robust`: what `train --robust` chooses and brings.

Prints one JSON object a line. Parameters were chosen on flowers, hymenoptera and trashnet; casting and dogs_angry_happy confirm them."""
import json, sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from quickcls.backbones.onnx_graph import get_graph
from quickcls.backbones.registry import parse_views
from quickcls.data.items import class_numbers, scan_folder
from quickcls.evaluate.none_of_these import none_of_these
from quickcls.features.embed import Embeddings, late_columns
from quickcls.groups.grouping import find_groups
from quickcls.heads.calibration import calibrate
from quickcls.heads.crossval import cross_validate, with_copies
from quickcls.heads.head import softmax
from quickcls.heads.linear import fit_linear, stratified_folds
from quickcls.model.classifier import Classifier
from quickcls.stress.changes import changes, every, families
from quickcls.stress.correctness import features, fit_correctness, fit_sets
from quickcls.stress.estimate import estimate_from, which_copies
from quickcls.stress.measure import drawn, embed_changed, prepared
from quickcls.stress.robust import choose_way, copies_of, most_asked

sizes = dict(flowers=200, hymenoptera=300, trashnet=240, casting=200, dogs_angry_happy=160)

@dataclass
class Set:
    name:str
    table:object # DataFrame
    x:object # `[n, d]`
    y:object # `[n]`
    changed:object # `[36, n, d]`
    groups:object # `[n]`
    vocab:list
    late:list

def embedded(data, name):
    "A set with all its changed copies"
    items, graph = scan_folder(data/name/'train' if name == 'casting' else data/name), get_graph(parse_views('efficientnet_lite0')[0])
    items.table = drawn(items.table.drop_duplicates('sha256'), sizes[name], 0)
    (e := Embeddings([graph])).embed(items)
    y = class_numbers(items.table.label, items.vocab)
    head = fit_linear(e.read(items.table), y, c=.03) # only where it looks counts, for the background
    clf = Classifier(items.vocab, [graph.view], 'all', head, graphs=[graph], info=dict(digests=[graph.digest]))
    images = prepared(clf, items.table)
    n = len(images)
    changed = embed_changed(clf, images, [(i, *w) for w in every for i in range(n)]).reshape(len(every), n, -1)
    items.table = images.table
    x, groups = e.read(images.table), np.array(find_groups(items, e.read(images.table)).names)
    y, late = class_numbers(images.table.label, items.vocab), late_columns([graph], 'all')
    return Set(name, images.table, x, y, changed, groups, items.vocab, late)

def halves(s):
    "(rows to learn from, rows to ask about), twice"
    return [(a, b) for a, b in stratified_folds(s.y, s.groups, 2, 0)]

@dataclass
class Asked:
    "A head that was fitted on one half"
    s:Set
    a:object # Rows `[m]`

    def __post_init__(self):
        s, a = self.s, self.a
        x, y, g = s.x[a], s.y[a], s.groups[a]
        self.c = fit_linear(x, y, groups=g).notes['C']
        self.head = fit_linear(x, y, c=self.c)
        cv = cross_validate(x, y, g, n_out=len(s.vocab), c=self.c)
        self.temperature = calibrate(cv).temperature
        rows = s.table.iloc[a].assign(split='train', group=g)
        self.open_set, _ = none_of_these(rows, x, s.vocab, cv, self.head, self.temperature, late=s.late, c=self.c)

    def answers(self, x, y):
        "(features, right, confidence)"
        logits = self.head.logits(x)/self.temperature
        p, near = softmax(logits), self.open_set.similarities(x)
        best = np.argpartition(-near, 2, 1)[:, :3]
        agree = (self.s.y[self.a][best] == p.argmax(1)[:, None]).mean(1)
        return features(p.max(1), near.max(1), agree, self.open_set.score(x, logits)), p.argmax(1) == y, p.max(1)

def table(s):
    "The accuracy of each change, both halves together"
    asked = [(Asked(s, a), b) for a, b in halves(s)]
    def right(x): return float(np.mean(np.concatenate([q.head.logits(x[b]).argmax(1) == s.y[b] for q, b in asked])))
    rows = {n: [round(right(s.changed[every.index((n, k))]), 3) for k in (1, 2, 3)] for n in changes}
    return dict(name=s.name, n=len(s.y), plain=right(s.x), **rows)

def estimate(s):
    "For each change the true accuracy and four estimates; the pooled rows of both halves"
    found = {}
    for a, b in halves(s):
        q, which = Asked(s, a), which_copies(len(a))
        copies = np.stack([s.changed[every.index(w[1:])][a[w[0]]] for w in which]), np.array([w[0] for w in which]), [w[1:] for w in which]
        sets = fit_sets(s.x[a], s.y[a], s.groups[a], copies, c=q.c, temperature=q.temperature, open_set=q.open_set)
        home, ok = 1/(1 + np.exp(-sets['plain'][1][:, 0])), sets['plain'][2]
        line = np.quantile(home, 1 - ok.mean())
        plain = fit_correctness({k: v for k, v in sets.items() if v[0] in ('plain', 'link')}, len(a))
        for family in families:
            model = fit_correctness({k: v for k, v in sets.items() if v[0] != family}, len(a))
            for k, (name, strength) in enumerate(every):
                if changes[name].family != family: continue
                f, right, confidence = q.answers(s.changed[k][b], s.y[b])
                e = estimate_from(f, model)
                row = dict(n=len(b), true=right.mean(), estimate=e.accuracy, unchanged_only=plain.probability(f).mean(),
                           confidence=confidence.mean(), atc=(confidence >= line).mean(), doc=ok.mean() - home.mean() + confidence.mean(),
                           covered=e.low <= right.mean() <= e.high, half=(e.high - e.low)/2)
                found.setdefault((name, strength), []).append(row)
    return [dict(name=s.name, change=n, strength=k) | pooled(rows) for (n, k), rows in found.items()]

def pooled(rows):
    "Weighted means of the rows of both halves; `covered` counts the halves, whose interval it is"
    n = np.array([r['n'] for r in rows])
    return {k: float(np.average([r[k] for r in rows], weights=n)) for k in rows[0] if k != 'n'} | dict(n=int(n.sum()))

def errors(rows):
    "Mean absolute error of each estimate over some rows, the share of intervals that cover the truth, their mean half width"
    def mean(values): return round(float(np.mean(list(values))), 4)
    found = {k: mean(abs(r[k] - r['true']) for r in rows) for k in ('estimate', 'unchanged_only', 'confidence', 'atc', 'doc')}
    return found | {k: mean(r[k] for r in rows) for k in ('covered', 'half')}

def robust(s):
    "What `train --robust` chooses on each half, and what it brings on the other: accuracy on images as they are, and under all 36 changes"
    rows = []
    for a, b in halves(s):
        x, y, g = s.x[a], s.y[a], s.groups[a]
        def copies(which): return np.stack([s.changed[every.index(w[1:])][a[w[0]]] for w in which]), np.array([w[0] for w in which])
        plain, some = fit_linear(x, y, groups=g), np.sort(np.random.default_rng(42).permutation(len(a))[:most_asked])
        asked = np.stack([copies([(i, k, 2) for i in some])[0] for k in changes]), some
        found = choose_way(x, y, g, asked, lambda *way: copies(copies_of(len(a), *way)), n_out=len(s.vocab), c=plain.notes['C'])
        which = copies_of(len(a), found.kinds, found.count, found.strength)
        z, at = with_copies(x, np.arange(len(a)), copies(which) if which else None)
        taught = fit_linear(z, y[at], groups=g[at]) if which else plain
        def right(head, x): return round(float((head.logits(x[b]).argmax(1) == s.y[b]).mean()), 4)
        def both(head): return right(head, s.x), round(float(np.mean([right(head, x) for x in s.changed])), 4)
        rows.append(dict(name=s.name, n=len(b), kinds=found.kinds, count=found.count, strength=found.strength, before=both(plain),
                         after=both(taught), cv_before=found.before, cv_after=found.after))
    return rows

def rows(bench, e):
    "Rows of the table of all benchmarks, from the last line of `estimate`"
    what = f'accuracy without labels, {e["rows"]} changed sets: mean error'
    bench.row(what, f'{e["estimate"]:.3f}; mean confidence {e["confidence"]:.3f}', '<= 0.04', e['estimate'] <= .04)
    bench.row('  its interval covers the truth', f'{e["covered"]:.0%}; half width {e["half"]:.3f}', '>= 85 %', e['covered'] >= .85)

def main():
    what, data, names = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3:] or list(sizes)
    all_rows = []
    for name in names:
        s = embedded(data, name)
        if what == 'table': print(json.dumps(table(s)), flush=True)
        elif what == 'robust':
            for r in robust(s): print(json.dumps(r), flush=True)
        else:
            found = estimate(s)
            all_rows += found
            print(json.dumps(dict(name=name, rows=len(found)) | errors(found)), flush=True)
    if all_rows: print(json.dumps(dict(name='all', rows=len(all_rows)) | errors(all_rows)), flush=True)

if __name__ == '__main__': main()
