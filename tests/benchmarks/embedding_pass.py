"""The embedding pass by itself, in a process of its own.

    python embedding_pass.py share FOLDER       # images/s of decoding alone, the graph alone, and the pass; its share of what both allow
    python embedding_pass.py memory FOLDER N    # a pass over N images (copies of FOLDER's, each with bytes of its own)

Whoever starts the second one reads its peak memory."""
import json, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from quickcls.backbones.registry import parse_views
from quickcls.data.items import scan_folder
from quickcls.backbones.engines import open_engine
from quickcls.features.embed import decoders, embed_items, embed_images
from quickcls.backbones.onnx_graph import get_graph
from quickcls.data.images import load_image
from quickcls.features.store import Store, recipe_of, store_key

view, = parse_views('efficientnet_lite0')
load = lambda p: np.asarray(load_image(p, view.size, view.resize))

def rate(n, work):
    "Images a second"
    t = time.perf_counter()
    work()
    return n/(time.perf_counter() - t)

def share(folder):
    "Decoding, the graph, and both; with d and g images a second for each alone, sharing the cores allows 1/(1/d + 1/g)"
    items = scan_folder(folder)
    graph = get_graph(view, images=items.table.path[:8])
    engine, paths, n = open_engine(graph), list(items.table.path), len(items)
    batch = np.stack([load(p) for p in paths[:8]])
    def decode():
        with ThreadPoolExecutor(decoders()) as pool:
            for _ in pool.map(load, paths): pass
    def run():
        for _ in range(n//8): engine.start(batch, lambda e: None)
        engine.wait()
    run()
    rounds = []
    for _ in range(5):  # in turn: a machine that slows down slows all three
        with tempfile.TemporaryDirectory() as d:
            rounds.append((
                rate(n, decode),
                rate(n // 8 * 8, run),
                rate(n, lambda: embed_items(items, graph, engine=engine, store=Store(f'{d}/s.sqlite'))),
            ))
    d, g, p = np.median(rounds, axis=0)
    print(json.dumps(dict(decode=d, graph=g, share=float(np.median([p*(1/d + 1/g) for d, g, p in rounds])), **{'pass': p})))

def memory(folder, n):
    "A pass over `n` images into a store of its own"
    with tempfile.TemporaryDirectory() as tmp:
        originals = [p.read_bytes() for p in sorted(Path(folder).glob('*/*.jpg'))]
        for i in range(n):
            Path(f'{tmp}/{i}.jpg').write_bytes(originals[i % len(originals)] + b'%d' % i)  # JPEG decoders stop at the end mark
        graph = get_graph(view)
        engine = open_engine(graph)
        recipe = recipe_of(graph, engine.precision)
        done = embed_images(
            [(store_key(str(i), recipe), f'{tmp}/{i}.jpg') for i in range(n)],
            load,
            engine=engine,
            store=Store(f'{tmp}/s.sqlite'),
            recipe=recipe,
        )
        assert done.embedded == n

if __name__ == '__main__': share(sys.argv[2]) if sys.argv[1] == 'share' else memory(sys.argv[2], int(sys.argv[3]))
