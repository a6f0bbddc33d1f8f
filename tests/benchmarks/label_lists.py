"""Wrong labels among several, planted: `python -m tests.benchmarks lists`.

In every tenth image one label is added or taken away, five draws. Drawings of a shape in a colour, where a label can be told;
and film posters, where a genre can hardly be: there the right answer is to name (nearly) nothing. Prints one JSON object a set."""
import json, sys, tempfile
from dataclasses import replace
from pathlib import Path
import numpy as np
from quickcls.data.items import Items
from quickcls.doctor.examine import examine_items
from quickcls.findings.labels import find_wrong_in_lists
from quickcls.multilabel.labels import label_names, read_labels
from tests.test_multilabel import draw_shapes

def print_beside(text): print(text, file=sys.stderr)

def planted(items, seed):
    "(items with a label more or less in a tenth of them, {(path, label)})"
    rng, names, t = np.random.default_rng(seed), label_names(items), items.table.copy()
    labels, changed = [set(own) for own in t.labels], set()
    for i in rng.permutation(len(t))[:len(t)//10]:
        label = names[rng.integers(len(names))]
        labels[i] ^= {label}
        changed.add((t.path.iloc[i], label))
    t['labels'] = [tuple(sorted(own)) for own in labels]
    return Items(items.folder, t), changed

def measure(name, folder):
    examined, right, named, n = examine_items(read_labels(folder, separator=' '), offline=True, say=print_beside), 0, 0, 0
    for seed in range(5):
        items, changed = planted(examined.items, seed)
        found = find_wrong_in_lists(replace(examined, items=items, separator=' '))
        told = {(f.images[0], label) for f in found for label in f.facts['missing'] + f.facts['wrong']}
        right, named, n = right + len(told & changed), named + len(told), n + len(changed)
    print(json.dumps(dict(name=name, images=len(examined.table), right=right, named=named, planted=n)), flush=True)

if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as d: measure('drawn shapes', draw_shapes(Path(d)/'shapes', 300))
    for folder in sys.argv[1:]: measure(Path(folder).name, folder)
