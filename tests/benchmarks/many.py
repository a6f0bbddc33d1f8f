"""Many classes and many images: seconds and memory of each step of a training.

    python -m tests.benchmarks many                                   # the rows of all sets
    python -m tests.benchmarks many CLASSES IMAGES                    # one set: so many images in all
    python -m tests.benchmarks.many run CLASSES IMAGES [FOLDER]       # the same as one JSON object

Every image is a drawn file of 16 pixels with its own content, and its embedding is drawn too (a direction for each class, and noise) and
put into the store under its key. So all steps but the pass are measured as they are, in minutes; the images of the pass itself are
measured by `python -m tests.benchmarks pass`. The network is prepared beforehand, as on every machine after its first training: that
takes torch, and 500 MB more. Memory is the most that the process has had by the end of the step."""
import contextlib, hashlib, json, os, resource, shutil, sys, tempfile, time
from pathlib import Path
import numpy as np
from PIL import Image

sets = ((10, 1_000), (10, 10_000), (300, 1_800), (1_000, 4_000), (10, 100_000), (200, 100_000))

def mb()->float: # most so far
    "The memory of this process; what Linux counts as its own use begins with that of the process that started it"
    status = Path('/proc/self/status')
    if not status.is_file(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith('VmHWM'))/1024

def draw_images(folder, classes, n, seed=0):
    "`n` tiny PNG files in as many folders as there are classes; (path, SHA-256, class number) of each"
    rng, found = np.random.default_rng(seed), []
    for k in range(classes): (folder/f'class {k:04}').mkdir(parents=True)
    for i in range(n):
        k = i % classes
        noise = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        noise[:, :4] = (k*37 % 256, k*91 % 256, k*53 % 256)
        name = hashlib.md5(str(i).encode()).hexdigest()[:12] # no counter: it would say which belong together
        path = folder/f'class {k:04}'/f'{name}.png'
        Image.fromarray(noise).save(path, compress_level=1)
        found.append((path, hashlib.sha256(path.read_bytes()).hexdigest(), k))
    return found

def plant(found, graph, precision, seed=0, block=2_000, apart=.18):
    "Put a drawn embedding of each image into the store"
    from quickcls.features.store import Store, recipe_of, store_key
    rng, recipe, store = np.random.default_rng(seed), recipe_of(graph, precision), Store()
    scale = np.exp(rng.normal(0, 1, graph.dim)).astype(np.float32)
    mix = rng.normal(size=(64, graph.dim)).astype(np.float32) # images differ in a few directions more than in others
    centres = rng.normal(0, apart, (max(k for *_, k in found) + 1, graph.dim)).astype(np.float32)
    for i in range(0, len(found), block):
        part = found[i:i+block]
        x = centres[[k for *_, k in part]] + .3*rng.normal(size=(len(part), 64)).astype(np.float32) @ mix
        x = np.maximum(x + rng.standard_normal((len(part), graph.dim), np.float32) + 1, 0)*scale
        store.put([(store_key(h, recipe), e) for (_, h, _), e in zip(part, x)], recipe)
    store.close()

def prepared(folder, classes, n):
    "A drawn set whose embeddings are in the store"
    from quickcls.backbones.engines import open_engine
    from quickcls.backbones.registry import parse_views
    from quickcls.features.extractors import get_extractors
    from quickcls.model.auto import nearness
    graph, = get_extractors(parse_views('efficientnet_lite0'), offline=True)
    plant(draw_images(folder, classes, n), graph, open_engine(graph).precision)
    nearness(np.zeros((1, graph.nf), np.float32), graph) # what it reads is kept: reading it takes torch, once on a machine

class Steps:
    "What `Run.step` measures, and memory and CPU time beside"
    def __init__(self): self.found = {}

    def watch(self, run):
        "A `Run.step` that writes down"
        step = run.step
        @contextlib.contextmanager
        def watched(name, doing=''):
            t, cpu = time.perf_counter(), time.process_time()
            with step(name, doing): yield
            before = self.found.get(name, dict(seconds=0, cpu=0))
            cpu, seconds = time.process_time() - cpu + before['cpu'], time.perf_counter() - t + before['seconds']
            self.found[name] = dict(seconds=round(seconds, 1), cpu=round(cpu, 1), mb=round(mb()))
            print(f'  {name}: {self.found[name]}', file=sys.stderr, flush=True)
        run.step = watched

def trained(folder, out):
    "Train in this process; seconds, CPU seconds and memory by step"
    from quickcls.train.options import Training
    from quickcls.train.pipeline import Pipeline
    options = Training(str(folder), arch='efficientnet_lite0', offline=True, out=str(out), force=True)
    p, steps = Pipeline(options, lambda text: None), Steps()
    steps.watch(p.run)
    p.train()
    files = {f.name: f.stat().st_size for f in Path(out).iterdir() if f.is_file()}
    trust = p.trust
    return dict(steps=steps.found, mb=round(mb()), files=files, accuracy=p.metrics['accuracy'], warnings=trust.warnings, failed=p.failed,
                cross_validation=trust.cross_validation and {k: trust.cross_validation[k] for k in ('accuracy', 'folds', 'repeats')})

def run(classes, n, folder=None):
    "One set, drawn and trained on in processes of their own, so that drawing it does not count"
    import subprocess
    own = Path(folder or tempfile.mkdtemp())
    env = os.environ | dict(QUICKCLS_CACHE=os.environ.get('QUICKCLS_CACHE') if folder else str(own/'cache'))
    me = [sys.executable, '-m', 'tests.benchmarks.many']
    try:
        if not (own/'set').exists(): subprocess.run([*me, 'prepare', str(own/'set'), str(classes), str(n)], env=env, check=True)
        out = subprocess.run([*me, 'train', str(own/'set'), str(own/'model')], env=env, check=True, stdout=subprocess.PIPE, text=True)
    finally:
        if not folder: shutil.rmtree(own, ignore_errors=True)
    return json.loads(out.stdout.strip().splitlines()[-1])

def rows(bench, one=None):
    "A row for each set"
    for classes, n in [one] if one else sets:
        r = run(classes, n)
        total, cpu = (sum(s[k] for s in r['steps'].values()) for k in ('seconds', 'cpu'))
        name = f'{classes:,} classes, {n:,} images'
        bench.row(name, f'{total:.0f} s ({cpu:.0f} s CPU), {r["mb"]:,} MB', '<= 1,500 MB', r['mb'] <= 1500)
        for step, s in r['steps'].items(): bench.row(f'  {step}', f'{s["seconds"]:.1f} s ({s["cpu"]:.1f} s CPU), {s["mb"]:,} MB')
        page = r['files'].get('report.html', 0)/2**20
        bench.row('  report.html', f'{page:.2f} MB', '<= 5 MB', 0 < page <= 5)

def main(what, *words):
    if what == 'prepare': return prepared(Path(words[0]), int(words[1]), int(words[2]))
    print(json.dumps(trained(*words) if what == 'train' else run(int(words[0]), int(words[1]), *map(Path, words[2:]))))

if __name__ == '__main__': main(*sys.argv[1:])
