"""What `python -m tests.benchmarks.heads` compares heads on: embeddings of several views, of mirrored and cropped copies, finer grids."""
import numpy as np
from quickcls.backbones.engines import open_engine, read_network
from quickcls.backbones.onnx_graph import get_graph
from quickcls.backbones.registry import parse_views
from quickcls.core import import_openvino
from quickcls.data.images import load_image
from quickcls.data.items import class_numbers
from quickcls.features.embed import embed_images, embed_items, read_items
from quickcls.features.store import Store, recipe_of, store_key
from quickcls.groups.splitting import LookAlikes
from tests.benchmarks.limit import sample

arch = 'efficientnet_lite0'
more = ('efficientnet_lite0@320', 'efficientnet_lite2')
best = 'efficientnet_lite2@380/crop'
most = 480
corners = ((0, 0), (1, 1), (0, 1), (1, 0)) # of crops: top or bottom, left or right; the first two together see most of the image

class Views:
    "The embeddings of the images of a folder, by view: `rows` of images as they are, `copies` of changed ones, `grids` of maps"
    def __init__(self, folder):
        self.items, self.store = sample(folder, most), Store()
        self.rows = {}
        for name in (arch, *more, best): self.rows[name] = self._embedded(name)
        t = self.items.table
        self.y, self.n_out, self.groups = class_numbers(t.label, self.items.vocab), len(self.items.vocab), t.group.to_numpy()

    def _embedded(self, name):
        view, = parse_views(name)
        graph = get_graph(view, offline=True)
        engine = open_engine(graph, device='cpu')
        embed_items(self.items, graph, engine=engine, store=self.store)
        if name == arch:
            LookAlikes('auto').find_early(self.items, [graph])
            self.copies = {'mirror': self._changed(graph, engine, 'mirror', mirrored)}
            self.copies |= {at: self._changed(graph, engine, f'corner {at}', cropped(at)) for at in corners}
            maps = _Maps(graph)
            found = self._changed(graph, maps, 'grids', whole, maps.dim)
            self.grids, self.levels = maps.parts(found), maps.levels
        return read_items(self.items.table, graph, engine=engine, store=self.store)

    def _changed(self, graph, engine, name, change, dim=None):
        "Embeddings of the images, each changed before it is embedded"
        t, recipe = self.items.table, recipe_of(graph, engine.precision, name)
        keys = [store_key(h, recipe) for h in t.sha256]
        load = lambda p: np.ascontiguousarray(change(p, graph.view))
        embed_images(list(zip(keys, t.path)), load, engine=engine, store=self.store, recipe=recipe, desc=name)
        return self.store.get(keys, dim or graph.dim)

def whole(path, view): return np.asarray(load_image(path, view.size, view.resize))
def mirrored(path, view): return whole(path, view)[:, ::-1]

def cropped(at):
    "A function that takes seven eighths of the sides of an image, in a corner"
    def crop(path, view):
        side = view.size*8//7
        top, left = (side - view.size if end else 0 for end in at)
        return np.asarray(load_image(path, side, view.resize))[top:top + view.size, left:left + view.size]
    return crop

class _Maps:
    "An engine that gives averages of the last maps in 2 × 2 and 3 × 3 cells; the maps are inner results of the graph"
    precision, batch, grids = 'f32', 8, (2, 3)

    def __init__(self, graph, last=3):
        model, maps = read_network(graph.path), {}
        for op in model.get_ordered_ops():
            if op.get_type_name() != 'ReduceMean': continue
            out = op.input(0).get_source_output()
            if out.partial_shape.rank.get_length() == 4: maps[out.get_node().get_friendly_name()] = out
        *earlier, final = sorted(maps.values(), key=lambda o: o.partial_shape[1].get_length()) # a stage has more channels than those before
        self.levels = [o.partial_shape[1].get_length() for o in (final, *earlier)] # in the order of the embedding's columns
        used = (*earlier, final)[-last:][::-1] # the final one first
        for o in used: model.add_outputs([o])
        self.channels, self.n = [o.partial_shape[1].get_length() for o in used], len(used)
        self.run = import_openvino().Core().compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
        self.dim = sum(self.channels)*sum(g*g for g in self.grids)

    def start(self, batch, done):
        found = list(self.run(batch).values())[-self.n:]
        done(np.concatenate([_cells(m, g) for m in found for g in self.grids], 1))

    def wait(self): pass

    def parts(self, x):
        "{(stage from the end, grid): columns}"
        ends = np.cumsum([c*g*g for c in self.channels for g in self.grids])
        names = [(i, g) for i in range(self.n) for g in self.grids]
        return dict(zip(names, np.split(x, ends[:-1], 1)))

def _cells(maps, n):
    "Averages `[images, channels·n·n]` of n × n cells of maps; neighbours share what lies between them"
    side = maps.shape[2]
    ends = [(i*side//n, -(-(i + 1)*side//n)) for i in range(n)]
    return np.concatenate([maps[:, :, a:b, c:d].mean((2, 3)) for a, b in ends for c, d in ends], 1)
