"""How often a heat map's strongest cell lies on the defect, in photographs whose defects were marked by hand.

    python heat_maps.py FOLDER    # of magnetic_tile, with `images/` and `masks/`

Each image is explained with a head that was trained without it: 15 stratified folds (14 images a class to learn from), dealt twice;
only right answers about defects count. A hit: the strongest cell holds a marked pixel, or lies beside (also diagonally) a cell that does;
`strict`: the centre of the strongest cell lies within one cell of a marked pixel. Chance: the share of cells that would be a hit.
With `against`, the map is of the class against MT_Free."""
import json, sys, time
from pathlib import Path
import numpy as np
from PIL import Image
from quickcls.backbones.registry import parse_views
from quickcls.model.classifier import Classifier
from quickcls.data.items import scan_folder
from quickcls.data.split import split_items
from quickcls.explain.heatmap import heat_map
from quickcls.features.embed import Embeddings
from quickcls.backbones.onnx_graph import get_graph
from quickcls.heads.linear import fit_linear, stratified_folds

def hits(mask, n):
    "(cells of `n` × `n` that hold a marked pixel or lie beside one, cells whose centre lies within one cell of one)"
    y, x = ((v + .5)*n/side for v, side in zip(np.nonzero(mask), mask.shape))
    i = np.arange(n)
    beside, strict = np.zeros((n, n), bool), np.zeros((n, n), bool)
    for out, far in ((beside, np.floor), (strict, lambda v: v - .5)):
        near = np.abs(i[:, None, None] - far(y))[:, 0] <= 1, np.abs(i[:, None, None] - far(x))[:, 0] <= 1
        out |= (near[0].astype(int) @ near[1].T.astype(int)) > 0
    return beside, strict

def measure(folder, kinds):
    "{kind: hit, chance, strict, strict chance, seconds}, n right answers, of how many"
    items = split_items(scan_folder(folder/'images'))
    t = items.table
    graph = get_graph(parse_views('efficientnet_lite0')[0], images=t.path[:8])
    embeddings = Embeddings([graph])
    embeddings.embed(items)
    x, y = embeddings.read(t), t.label.map({c: i for i, c in enumerate(items.vocab)}).to_numpy()
    clf, found, right, asked = Classifier(items.vocab, [graph.view], 'all', None, graphs=[graph]), {k: [] for k in kinds}, 0, 0
    for seed in (0, 1):
        for a, b in stratified_folds(y, t.group.to_numpy().astype(str), 15, seed):
            clf.head = fit_linear(x[a], y[a], c=.01) # what training chooses on all of them
            for i in b[y[b] != items.vocab.index('MT_Free')]:
                asked += 1
                if clf.head.logits(x[i]).argmax() != y[i]: continue
                right += 1
                mask = (
                    np.asarray(
                        Image.open(folder / 'masks' / Path(t.path[i]).relative_to(folder / 'images').with_suffix('.png')).convert('L')
                    )
                    > 127
                )
                for k, options in kinds.items():
                    start = time.perf_counter()
                    cells = heat_map(clf, t.path[i], t.label[i], **options).cells
                    seconds, at = time.perf_counter() - start, np.unravel_index(cells.argmax(), cells.shape)
                    beside, strict = hits(mask, len(cells))
                    found[k].append((beside[at], beside.mean(), strict[at], strict.mean(), seconds))
    names = ('hit', 'chance', 'strict', 'strict_chance')
    return dict(
        right=right,
        asked=asked,
        kinds={
            k: dict(zip(names, np.mean(v, 0).round(4).tolist())) | dict(seconds=float(np.median([r[4] for r in v])))
            for k, v in found.items()
        },
    )


kinds = {
    '224 px': {},
    '224 px, against MT_Free': dict(against='MT_Free'),
    '448 px': dict(size=448),
    '448 px, against MT_Free': dict(size=448, against='MT_Free'),
    '224 px, occlusion': dict(method='occlusion'),
}

if __name__ == '__main__': print(json.dumps(measure(Path(sys.argv[1]), kinds)))
