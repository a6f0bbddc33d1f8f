"""What bf16 and int8 gain and cost beside f32: images per second of processor time, agreement and cross-validated accuracy.

    python precisions.py FOLDER [ARCH [N]]   # one folder, at most N of its images

All three see the same images and the same folds. int8 is calibrated with images of the folder, as `train --precision int8` does."""
import json, sys, tempfile, time
from pathlib import Path
import numpy as np
from quickcls.backbones.engines import open_engine
from quickcls.backbones.int8 import in_int8
from quickcls.backbones.registry import parse_views
from quickcls.data.items import class_numbers
from quickcls.features.embed import batch_size, embed_items, read_items
from quickcls.features.store import Store
from quickcls.heads.crossval import cross_validate
from tests.benchmarks.limit import graph_of, sample

sets = ('bears_web', 'casting', 'dogs_angry_happy', 'flowers', 'hymenoptera', 'lego_bricks', 'magnetic_tile/images', 'trashnet')
rounds = 5

def rates(engines, view):
    "Images per second of processor time of each network, in turn, so that a slower moment of the machine is the same for all"
    batch = np.random.default_rng(0).integers(0, 256, (batch_size, view.size, view.size, 3), dtype=np.uint8)
    found = {name: [] for name in engines}
    def run(engine, n):
        for _ in range(n): engine.start(batch, lambda e: None)
        engine.wait()
    for engine in engines.values(): run(engine, 2)
    for _ in range(rounds):
        for name, engine in engines.items():
            t = time.process_time()
            run(engine, 4)
            found[name].append(4*batch_size/(time.process_time() - t))
    return {name: float(np.median(r)) for name, r in found.items()}

def compared(folder, arch, n):
    "A row for each precision"
    view, = parse_views(arch)
    items = sample(folder, n)
    plain = graph_of(view, list(items.table.path[:8]))
    graphs = {'f32': plain, 'bf16': plain, 'int8': in_int8(plain, items.table)}
    engines = {name: open_engine(g, device='cpu', precision=name) for name, g in graphs.items()}
    speed, out = rates(engines, view), []
    y = class_numbers(items.table.label, items.vocab)
    with tempfile.TemporaryDirectory() as tmp:
        store = Store(f'{tmp}/s.sqlite')
        for name, g in graphs.items():
            embed_items(items, g, engine=engines[name], store=store)
            x = read_items(items.table, g, engine=engines[name], store=store)
            if name == 'f32': usual = x
            cosine = (x*usual).sum(1)/np.linalg.norm(x, axis=1)/np.linalg.norm(usual, axis=1)
            cv = cross_validate(x, y, items.table.group.to_numpy(), n_out=len(items.vocab), folds=5, repeats=4)
            row = dict(precision=name, computed=engines[name].precision, per_cpu_s=speed[name], accuracy=float(np.mean(cv.accuracies())))
            out.append(row | dict(cosine=float(np.median(cosine)), lowest=float(cosine.min()), n=len(items), mb=g.path.stat().st_size/1e6))
    return out

def precision_rows(bench, timed, root):
    "Rows of `python -m tests.benchmarks precisions`"
    lost, arch = {'bf16': [], 'int8': []}, 'efficientnet_lite0'
    for name in ('parts', *sets):
        folder = root/'datasets'/'parts' if name == 'parts' else bench.photos(name)
        if not folder: continue
        words = sys.executable, Path(__file__), folder, arch, 600
        found = json.loads(timed(*words, QUICKCLS_CACHE=str(bench.tmp/'precisions')).out.strip().splitlines()[-1])
        usual = found[0]
        for r in found:
            told = f'{r["per_cpu_s"]:.0f} per CPU second, cosine {r["cosine"]:.4f}, {r["lowest"]:.3f} at least'
            bench.row(f'{name}, {arch}, {r["precision"]}: cross-validated {r["accuracy"]:.4f} of {r["n"]}', told)
            if r is not usual: lost[r['precision']].append(r['accuracy'] - usual['accuracy'])
    for name, gains in lost.items():
        if gains: bench.row(f'{name} against f32, mean accuracy over {len(gains)} sets',
                            f'{100*np.mean(gains):+.2f} points, worst {100*min(gains):+.2f}')
    r = json.loads(timed(sys.executable, Path(__file__), root/'datasets'/'parts', 'resnet34', 32,
                         QUICKCLS_CACHE=str(bench.tmp/'precisions')).out.strip().splitlines()[-1])
    bench.row('resnet34 (random weights): f32, bf16, int8', ', '.join(f'{a["per_cpu_s"]:.0f}' for a in r) + ' images per CPU second')

if __name__ == '__main__':
    folder, arch, n = (*sys.argv[1:], *('efficientnet_lite0', '600')[len(sys.argv) - 2:])
    print(json.dumps(compared(Path(folder), arch, int(n))))
