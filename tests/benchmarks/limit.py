"""How near the embedding pass comes to what its two halves allow, and how quick other decoders of JPEG are.

    python limit.py pass FOLDER ARCH N      # decoding alone, the graph alone, the pass, of N images; a network has random weights
    python limit.py decoders FOLDER N       # each decoder that is installed, on one thread: images per second of processor time

Times are of the processor beside those of the clock: on a busy machine only the first say anything.
simplejpeg and pyvips are not among the requirements: where they are not installed, they are left out."""
import hashlib, io, json, os, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
import numpy as np
from PIL import Image
from quickcls.backbones.engines import open_engine
from quickcls.backbones.onnx_graph import export_graph, get_graph, read_graph
from quickcls.backbones.registry import parse_views
from quickcls.data.images import load_image
from quickcls.data.items import scan_folder
from quickcls.features.embed import batch_size, decoders, embed_items
from quickcls.features.store import Store

rounds = 5

def graph_of(view, paths):
    "The graph of a network; with random weights where it has no weights on this machine"
    if view.backbone.name == 'efficientnet_lite0': return get_graph(view, images=paths)
    import torch
    from quickcls.backbones.body import create_body
    torch.manual_seed(0)
    digest = f'{view.backbone.name}-{view.size}-random'
    return read_graph(digest, view) or export_graph(create_body(view), view, digest=digest)

def sample(folder, n):
    "`n` images of a folder, spread evenly; all of them where it has fewer"
    items = scan_folder(folder)
    t = items.table
    return replace(items, table=t.iloc[np.linspace(0, len(t) - 1, min(n, len(t))).astype(int)].reset_index(drop=True))

def repeated(items, n, into):
    "Copies of the files, each with bytes of its own, until there are `n`"
    table = items.table.iloc[np.arange(n) % len(items)].reset_index(drop=True)
    files = [Path(p).read_bytes() + b'%d' % i for i, p in enumerate(table.path)] # decoders of JPEG stop at the end mark
    table['path'] = [f'{into}/{i}{Path(p).suffix}' for i, p in enumerate(table.path)]
    table['sha256'] = [hashlib.sha256(data).hexdigest() for data in files]
    for p, data in zip(table.path, files): Path(p).write_bytes(data)
    return replace(items, table=table)

def processor_time():
    "Seconds of this process and of those that decode for it (Linux; elsewhere only its own)"
    own, tick = time.process_time(), os.sysconf('SC_CLK_TCK') if hasattr(os, 'sysconf') else 100
    for children in Path('/proc/self/task').glob('*/children'):
        for pid in children.read_text().split():
            try: fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
            except OSError: continue # it ended meanwhile
            own += (int(fields[11]) + int(fields[12]))/tick # user, system
    return own

def measured(n, work):
    "(images per second of the clock, per second of processor time)"
    wall, cpu = time.perf_counter(), processor_time()
    work()
    return n/(time.perf_counter() - wall), n/max(processor_time() - cpu, .001)

def whole_pass(folder, arch, n):
    "With d and g images a second for each half alone, sharing the cores allows 1/(1/d + 1/g)"
    view, = parse_views(arch)
    with tempfile.TemporaryDirectory() as tmp:
        items = sample(folder, n)
        if len(items) < n: items = repeated(items, n, tmp)
        paths = list(items.table.path)
        graph = graph_of(view, paths[:8])
        engine = open_engine(graph)
        load = lambda p: np.asarray(load_image(p, view.size, view.resize))
        batch = np.stack([load(p) for p in (paths*batch_size)[:batch_size]])
        def decode():
            with ThreadPoolExecutor(decoders()) as pool:
                for _ in pool.map(load, paths): pass
        def run():
            for _ in range(n//batch_size): engine.start(batch, lambda e: None)
            engine.wait()
        def both(): embed_items(items, graph, engine=engine, store=Store(f'{tmp}/{time.monotonic_ns()}.sqlite'))
        run()
        found = [(measured(n, decode), measured(n//batch_size*batch_size, run), measured(n, both)) for _ in range(rounds)]
    (d, d_cpu), (g, g_cpu), (p, p_cpu) = np.median(found, axis=0)
    shares = [[r[2][k]*(1/r[0][k] + 1/r[1][k]) for r in found] for k in (0, 1)] # each within its round: all three are slowed alike
    wall, cpu = (float(np.median(s)) for s in shares)
    return dict(n=n, decode=d, graph=g, decode_cpu=d_cpu, graph_cpu=g_cpu, pass_cpu=p_cpu, share=wall, share_cpu=cpu, **{'pass': p})

def scale_for(width, height, size):
    "By how much Pillow's `draft` reduces a JPEG for a square of `size`"
    return next((s for s in (8, 4, 2) if min(width, height) >= size*s), 1)

def pillow(data, scale):
    im = Image.open(io.BytesIO(data))
    im.draft('RGB', (im.width//scale, im.height//scale))
    return np.asarray(im.convert('RGB'))

def opencv(data, scale):
    import cv2
    flags = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags[scale] | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)

def torchvision(data, scale):
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    found = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB) # never reduced
    return found.permute(1, 2, 0).numpy()

def simplejpeg(data, scale):
    import simplejpeg
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    return simplejpeg.decode_jpeg(data, 'RGB', min_height=-(-height//scale), min_width=-(-width//scale), min_factor=1)

def pyvips(data, scale):
    import pyvips
    return pyvips.Image.jpegload_buffer(data, shrink=scale).numpy()

def compare_decoders(folder, n, size=224):
    "Each decoder at the scale that Pillow chooses, then Pillow's resizing, on one thread; how far its pixels are from Pillow's"
    files = [data for p in sample(folder, n).table.path if (data := Path(p).read_bytes())[:2] == b'\xff\xd8']
    files = [data for data in files if Image.open(io.BytesIO(data)).mode == 'RGB']
    scales = [scale_for(*Image.open(io.BytesIO(data)).size, size) for data in files]
    def small(pixels): return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
    tools = {}
    for tool in (pillow, opencv, torchvision, simplejpeg, pyvips):
        try: tool(files[0], scales[0])
        except ImportError: continue
        tools[tool.__name__] = tool
    if 'opencv' in tools: __import__('cv2').setNumThreads(1)
    if 'torchvision' in tools: __import__('torch').set_num_threads(1)
    usual, rates = [small(pillow(*f)) for f in zip(files, scales)], {name: [] for name in tools}
    for _ in range(rounds):
        for name, tool in tools.items(): # in turn
            rates[name].append(measured(len(files), lambda: [small(tool(*f)) for f in zip(files, scales)])[1])
    out = []
    for name, tool in tools.items():
        own = [small(tool(*f)) for f in zip(files, scales)]
        far = [np.abs(a.astype(int) - b) for a, b in zip(own, usual)]
        ratio = float(np.median(np.array(rates[name])/rates['pillow']))
        apart = dict(same=sum(not f.any() for f in far), largest=int(max(f.max() for f in far)))
        out.append(dict(tool=name, n=len(files), per_s=float(np.median(rates[name])), ratio=ratio, **apart))
    return out

def limit_rows(bench, timed):
    "Rows of `python -m tests.benchmarks limit`"
    here = Path(__file__)
    for name, n in (('hymenoptera', 160), ('casting', 240), ('bears_large', 24)):
        folder = bench.photos(name)
        if not folder: continue
        for arch in ('efficientnet_lite0', 'resnet34'):
            words = sys.executable, here, 'pass', folder, arch, n if arch != 'resnet34' else max(n//4, 16)
            r = timed(*words, QUICKCLS_CACHE=str(bench.tmp/'pass')).last
            bench.row(f'{name}, {arch}: images/s of decoding, graph, pass', f'{r["decode"]:.0f}, {r["graph"]:.0f}, {r["pass"]:.0f}')
            per_cpu = f'{r["decode_cpu"]:.0f}, {r["graph_cpu"]:.0f}, {r["pass_cpu"]:.0f}'
            bench.row('  images per second of processor time', per_cpu)
            bench.row('  the pass, of what both allow together: clock', f'{r["share"]:.0%}', '>= 95 %', r['share'] >= .95)
            bench.row('  the same, of processor time', f'{r["share_cpu"]:.0%}', '>= 95 %', r['share_cpu'] >= .95)

def decoder_rows(bench, timed):
    "Rows of `python -m tests.benchmarks decoders`"
    for name, n in (('hymenoptera', 100), ('casting', 200), ('bears_large', 3)):
        folder = bench.photos(name)
        if not folder: continue
        for r in json.loads(timed(sys.executable, Path(__file__), 'decoders', folder, n).out.strip().splitlines()[-1]):
            told = f'{r["per_s"]:.0f} per CPU second, {r["ratio"]:.2f} of Pillow'
            bench.row(f'{name}: {r["tool"]}', told, f'{r["same"]} of {r["n"]} alike, ≤ {r["largest"]} off')

if __name__ == '__main__':
    what, folder, *rest = sys.argv[1:]
    print(json.dumps(compare_decoders(folder, int(rest[0])) if what == 'decoders' else whole_pass(folder, rest[0], int(rest[1]))))
