"""Every figure that is owed from a GPU: `python -m tests.benchmarks gpu`.

Where torch can use none, one row says so, and nothing else is measured. The images are drawn; whole processes are timed, so the start of
torch and of the GPU counts."""
import json, sys, tempfile, time
from pathlib import Path
import numpy as np

archs = ('efficientnet_lite0', 'resnet34')

def engines(arch, device):
    "Images a second by precision and size of a batch, the agreement with the CPU, and the memory of the GPU; one JSON object"
    import torch
    from quickcls.backbones.engines import OpenVINOEngine, TorchEngine
    from quickcls.backbones.onnx_graph import get_graph
    from quickcls.backbones.registry import parse_views
    from quickcls.features.benchmark import images_per_s
    view, = parse_views(arch)
    graph = get_graph(view)
    images = np.random.default_rng(0).integers(0, 256, (256, view.size, view.size, 3), dtype=np.uint8)
    exact, found = OpenVINOEngine(graph.path, precision='f32')(images[:8])['embedding'], {}
    for precision in ('f32', 'f16'):
        engine = TorchEngine(graph.embedder, device=device, precision=precision)
        own = engine(images[:8])['embedding']
        cosine = (own*exact).sum(1)/np.linalg.norm(own, axis=1)/np.linalg.norm(exact, axis=1)
        speeds = {n: round(images_per_s(engine, images[:n], 3), 1) for n in (8, 16, 64, 256)}
        one = time.perf_counter()
        for _ in range(50): engine(images[:1])
        found[precision] = dict(cosine=float(cosine.min()), speeds=speeds, one_ms=20*(time.perf_counter() - one))
    found['mb'] = torch.cuda.max_memory_allocated()/2**20 if device == 'cuda' else None
    print(json.dumps(found))

def rows(bench, timed, quickcls):
    "The rows of the table"
    from quickcls.backbones.device import gpu
    from tests.benchmarks.many import draw_images
    device = gpu()
    if not device: return bench.row('GPU', 'not measured: torch can use neither CUDA nor MPS here')
    for arch in archs:
        r = timed(sys.executable, '-m', 'tests.benchmarks.gpu', arch, device).last
        for precision in ('f32', 'f16'):
            f, least = r[precision], .999 if precision == 'f32' else .99
            speeds = ', '.join(f'{v:,.0f} ({n})' for n, v in f['speeds'].items())
            bench.row(f'{arch} on {device}, {precision}: images/s (a batch)', speeds)
            bench.row('  agreement with the CPU, smallest cosine', f'{f["cosine"]:.5f}', f'>= {least}', f['cosine'] >= least)
            bench.row('  one image', f'{f["one_ms"]:.1f} ms')
        if r['mb']: bench.row('  memory of the GPU', f'{r["mb"]:,.0f} MB')
    with tempfile.TemporaryDirectory() as tmp:
        draw_images(Path(tmp)/'set', 4, 2000)
        for on in (device, 'cpu'):
            how = dict(QUICKCLS_CACHE=f'{tmp}/cache-{on}')
            options = ('--arch', archs[0], '--out', f'{tmp}/{on}', '--device', on, '--json')
            r = quickcls('train', f'{tmp}/set', *options, **how)
            bench.row(f'train 2,000 drawn images --device {on}', f'{r.seconds:.1f} s, accuracy {r.last["accuracy"]:.3f}, {r.mb:,.0f} MB')
            r = quickcls('train', f'{tmp}/set', *options, '--force', '--strategy', 'full', '--epochs', '2', **how)
            bench.row(f'  --strategy full, 2 epochs --device {on}', f'{r.seconds:.1f} s, accuracy {r.last["accuracy"]:.3f}, {r.mb:,.0f} MB')
            r = quickcls('predict', f'{tmp}/{on}', f'{tmp}/set', '--device', on, **how)
            bench.row(f'  predict the same images --device {on}', f'{r.seconds:.1f} s, {r.mb:,.0f} MB')

if __name__ == '__main__': engines(*sys.argv[1:])
