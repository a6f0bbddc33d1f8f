"""Several labels an image: how good on 200 film posters, beside chance: `python -m tests.benchmarks posters`.

Five splits by five seeds; embedded once. Mean average precision of the labels that the tested images have, held out and cross-validated;
what a random order of as many images gives; the mean frequency of a label;
the same with the images given each other's labels. Prints one JSON object a line."""
import json, sys
import numpy as np
from quickcls.backbones.onnx_graph import get_graph
from quickcls.backbones.registry import parse_views
from quickcls.features.embed import Embeddings
from quickcls.multilabel.classifier import evaluation
from quickcls.multilabel.fit import cross_labels, fit_labels
from quickcls.multilabel.labels import label_matrix, label_names, read_labels, split_labels

def measure(folder, arch='efficientnet_lite0'):
    scanned = read_labels(folder, separator=' ')
    vocab, e = label_names(scanned), Embeddings([get_graph(v) for v in parse_views(arch)])
    e.embed(scanned)
    for seed in range(5):
        t = split_labels(scanned, seed=seed).table
        x, y, groups, train = e.read(t), label_matrix(t.labels, vocab), t.group.to_numpy(), (t.split == 'train').to_numpy()
        fitted = fit_labels(x[train], y[train], groups[train], seed=seed)
        held = evaluation(t[~train], fitted.head.probs(x[~train]), vocab, fitted.thresholds)
        probs, limits = cross_labels(x, y, groups, fitted.c, seed=seed)
        crossed = evaluation(t, probs, vocab, limits, crossed=True)
        random = np.random.default_rng(seed).permutation(len(y))
        shuffled = cross_labels(x[random], y, groups, fitted.c, seed=seed)[0]
        none = evaluation(t, shuffled, vocab, .5)
        print(json.dumps(dict(seed=seed, c=fitted.c, held=held.summary(), crossed=crossed.summary(), shuffled=none.summary())), flush=True)

if __name__ == '__main__': measure(sys.argv[1])
