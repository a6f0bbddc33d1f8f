"""Copies of images: how many are found, how many that are none are taken for copies, and how long it takes.

    python -m tests.benchmarks duplicates [--small]                   # all rows; with --small fewer copies and images, for a busy machine
    python -m tests.benchmarks.duplicates set FOLDER COPIES           # one set with nine copies of some of its images; three rivals beside
    python -m tests.benchmarks.duplicates castings FOLDER             # the leak of that set, and the seconds after the pass
    python -m tests.benchmarks.duplicates draw N FOLDER               # drawn images, a tenth of them copies
    python -m tests.benchmarks.duplicates many FOLDER                 # scan, pass and copies of those
    python -m tests.benchmarks.duplicates neighbours N                # the search for neighbours alone, among N drawn vectors

The last five print one JSON object. The first five transformations are those that imagededup publishes figures for (crop, two flips, a turn
by 25°, another aspect). A copy counts as found if it is linked with its original, directly or by other copies. Precision is counted in
pairs. Sets have copies of their own: those that were looked at by eye are listed in `real`, and count neither as right nor as wrong."""
import json, sys, tempfile, time
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

real = dict( # Images of a set that are copies of each other, by number in the order of their paths
    flowers=((12, 25), (13, 23, 24), (47, 48), (103, 104), (112, 113)),
    trashnet=((243, 250), (281, 294), (375, 383), (435, 436)),
    test=((41, 372), (66, 168), (225, 302), (417, 430), (595, 646), (622, 700)), # of the castings
)

def marked(im):
    "With a half-transparent watermark"
    layer = Image.new('RGBA', im.size, (0, 0, 0, 0))
    font = ImageFont.load_default(max(12, im.height//8))
    ImageDraw.Draw(layer).text((im.width*.12, im.height*.42), '© sample', fill=(255, 255, 255, 150), font=font)
    return Image.alpha_composite(im.convert('RGBA'), layer).convert('RGB')

changes = dict(
    crop=lambda im: im.crop([int(s*n) for s, n in zip((.12, .12, .88, .88), im.size*2)]),
    hflip=ImageOps.mirror,
    vflip=ImageOps.flip,
    turn25=lambda im: im.rotate(25, resample=Image.Resampling.BICUBIC, expand=True),
    aspect=lambda im: im.resize((int(im.width*1.4), im.height)),
    half=lambda im: im.resize((max(im.width//2, 1), max(im.height//2, 1)), Image.Resampling.LANCZOS),
    q60=lambda im: im,
    mark=marked,
    turn90=lambda im: im.transpose(Image.Transpose.ROTATE_90),
)

def write_copies(files, folder, copies):
    "`<number>.jpg` for each file, and `<number>_<change>.jpg` of some; two classes, since a set has two"
    some = set(np.random.default_rng(0).permutation(len(files))[:copies].tolist())
    for i, p in enumerate(files):
        im = ImageOps.exif_transpose(Image.open(p)).convert('RGB')
        own = folder/'ab'[i % 2]
        own.mkdir(parents=True, exist_ok=True)
        if p.suffix.lower() in ('.jpg', '.jpeg'): (own/f'{i:05}.jpg').write_bytes(p.read_bytes())
        else: im.save(own/f'{i:05}.png')
        if i not in some: continue
        for name, change in changes.items(): change(im).save(own/f'{i:05}_{name}.jpg', quality=60 if name == 'q60' else 92)

def draw(n, folder):
    "Drawn images, each with its own pattern, shapes and grain; every ninetieth is followed by its nine copies"
    folder, written, seed = Path(folder), 0, 0
    for c in 'ab': (folder/c).mkdir(parents=True)
    while written < n:
        rng = np.random.default_rng(seed)
        im = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((320, 256), Image.Resampling.BICUBIC)
        d = ImageDraw.Draw(im)
        for _ in range(rng.integers(10, 60)):
            x, y, a, b = rng.uniform(0, 320), rng.uniform(0, 256), rng.uniform(3, 40), rng.uniform(3, 40)
            (d.ellipse if rng.random() < .5 else d.rectangle)([x - a, y - b, x + a, y + b], fill=tuple(rng.integers(0, 256, 3).tolist()))
        im = Image.fromarray(np.clip(np.asarray(im) + rng.normal(0, 6, (256, 320, 1)), 0, 255).astype(np.uint8))
        own = folder/'ab'[seed % 2]
        im.save(own/f'{seed:05}.jpg', quality=90)
        written += 1
        for name, change in changes.items() if seed % 82 == 0 else ():
            change(im).save(own/f'{seed:05}_{name}.jpg', quality=60 if name == 'q60' else 92)
            written += 1
        seed += 1
    return dict(n=written)

def embedded(folder):
    "Items, embeddings of all levels, the columns of the last one, seconds of the scan and of the pass"
    from quickcls.backbones.registry import parse_views
    from quickcls.data.items import scan_folder
    from quickcls.features.embed import Embeddings, late_columns
    from quickcls.features.extractors import get_extractors
    t = time.perf_counter()
    items = scan_folder(folder)
    scanned = time.perf_counter() - t
    graphs = get_extractors(parse_views('efficientnet_lite0'), offline=True)
    e, t = Embeddings(graphs), time.perf_counter()
    e.embed(items)
    return items, e.read(items.table), late_columns(graphs, 'all'), scanned, time.perf_counter() - t

def by_hash(table, kind, most=10):
    "Pairs whose hashes differ in ten bits or fewer, as imagededup does it"
    import imagehash
    hashes = np.stack([getattr(imagehash, kind)(Image.open(p)).hash.ravel() for p in table.path]).astype(np.float32)
    differ = hashes.sum(1)[:, None] + hashes.sum(1)[None] - 2*(hashes @ hashes.T)
    return np.argwhere(np.triu(differ <= most + .5, 1))

def by_cosine(x, late, least=.9):
    "Pairs whose embeddings have a cosine of .9 or more, as imagededup does it"
    f = np.concatenate([x[:, a:b] for a, b in late], 1)
    f = f/np.linalg.norm(f, axis=1, keepdims=True)
    return np.argwhere(np.triu(f @ f.T >= least, 1))

def judged(pairs, names, alike=()):
    "Recall of each change, mean recall, precision, pairs that are wrong (the first few by name)"
    from scipy.cluster.hierarchy import DisjointSet
    group = {n: g[0] for g in alike for n in g}
    number, at, linked = [int(n[:5]) for n in names], {n: i for i, n in enumerate(names)}, DisjointSet(range(len(names)))
    base = np.array([group.get(n, n) for n in number])
    for a, b in pairs: linked.merge(int(a), int(b))
    def found(n): return linked.connected(at[n[:5]], at[n])
    recall = {k: float(np.mean([found(n) for n in names if n.endswith(f'_{k}')])) for k in changes}
    a, b = np.asarray(pairs, int).reshape(-1, 2).T
    wrong = base[a] != base[b]
    first = [f'{names[i]} {names[j]}' for i, j in zip(a[wrong], b[wrong])][:20]
    return dict(recall=recall, mean=float(np.mean(list(recall.values()))), precision=1 - float(wrong.mean()) if len(a) else 1., wrong=first)

def one_set(folder, copies):
    "Nine copies of some images of a set, found by four ways"
    from quickcls.duplicates.near import find_pairs
    folder = Path(folder)
    files = sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg', '.png'))
    with tempfile.TemporaryDirectory() as tmp:
        write_copies(files, Path(tmp), copies)
        items, x, late, _, _ = embedded(tmp)
        names, known = [Path(p).stem for p in items.table.path], real.get(folder.name, ())
        t = time.perf_counter()
        pairs = find_pairs(items.table, x, late)
        out = dict(n=len(names), seconds=time.perf_counter() - t)
        out['quickcls'] = judged(pairs[['a', 'b']].to_numpy(), names, known)
        for kind in ('phash', 'dhash'): out[kind] = judged(by_hash(items.table, kind), names, known)
        out['cosine .9'] = judged(by_cosine(x, late), names, known)
    return out

def castings(folder):
    "The images with the same bytes in train and test, and how long all of it takes after the pass"
    from quickcls.duplicates.near import find_pairs
    from quickcls.findings.copies import find_copies
    from quickcls.findings.finding import Examined
    items, x, late, scanned, passed = embedded(folder)
    t = time.perf_counter()
    pairs = find_pairs(items.table, x, late)
    seconds = time.perf_counter() - t
    found = find_copies(Examined(items, x, late), pairs[pairs.how == 'bytes'])
    leaks = [f for f in found if f.kind == 'leak']
    true = sum(len({Path(p).read_bytes() for p in f.images}) == 1 for f in leaks)
    all_found = find_copies(Examined(items, x, late), pairs)
    kinds = {}
    for k in ('two-labels', 'leak', 'exact-duplicate', 'near-duplicate'):
        of_kind = [f for f in all_found if f.kind == k]
        kinds[k] = [len(of_kind), len({p for f in of_kind for p in f.images})]
    return dict(n=len(items), leaks=len(leaks), true=true, seconds=seconds, scan=scanned, embed=passed, kinds=kinds)

def many(folder):
    "Scan, pass, copies and findings of a folder that `draw` wrote"
    t = time.perf_counter()
    from quickcls.duplicates.near import find_pairs
    from quickcls.findings.copies import find_copies
    from quickcls.findings.finding import Examined
    items, x, late, scanned, passed = embedded(folder)
    t_pairs = time.perf_counter()
    pairs = find_pairs(items.table, x, late)
    seconds = time.perf_counter() - t_pairs
    found = find_copies(Examined(items, x, late), pairs)
    whole = time.perf_counter() - t
    return dict(n=len(items), findings=len(found), whole=whole, scan=scanned, embed=passed, seconds=seconds,
                **judged(pairs[['a', 'b']].to_numpy(), [Path(p).stem for p in items.table.path]))

def neighbours(n):
    "The nearest of each of many vectors: the only step whose time may grow faster than the number of images"
    from quickcls.duplicates.nearest import nearest
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(n//50, 1), 256)).astype(np.float32)
    f = (centres[rng.integers(0, len(centres), n)] + rng.normal(0, .5, (n, 256))).astype(np.float32)
    t = time.perf_counter()
    nearest([f])
    return dict(n=n, seconds=time.perf_counter() - t)

def rows(b, data, root, timed, small):
    "The rows of the table"
    def run(*words): return timed(sys.executable, '-m', 'tests.benchmarks.duplicates', *words, QUICKCLS_CACHE=str(b.tmp/'cache'))
    for name in ('flowers', 'hymenoptera', 'trashnet', 'casting'):
        if not b.photos(name): continue
        got = run('set', data/name/'test' if name == 'casting' else data/name, 15 if small else 60).last
        for way in ('quickcls', 'phash', 'dhash', 'cosine .9'):
            r, goal = got[way], way == 'quickcls' and name != 'casting'
            b.row(
                f'{name}, nine copies each, {way}: recall, precision',
                f'{r["mean"]:.3f} at {r["precision"]:.4f}',
                goal and '>= .95 at >= .99',
                r['mean'] >= .95 and r['precision'] >= .99 if goal else None,
            )
            b.row('  recall of each', ' '.join(f'{k} {v:.2f}' for k, v in r['recall'].items()))
            if way == 'quickcls' and r['wrong']: b.row('  wrong pairs', '; '.join(r['wrong'][:6]))
        b.row(f'  seconds for {got["n"]:,} images, after the pass', f'{got["seconds"]:.1f} s')
    if b.photos('casting') and not small:
        r = run('castings', data/'casting').last
        b.row('casting: the same bytes in train and test', f'{r["true"]} of {r["leaks"]}', '64 of 64', r['true'] == r['leaks'] == 64)
        b.row(f'  all copies among {r["n"]:,}, after the pass', f'{r["seconds"]:.1f} s', '')
        b.row('  findings (images)', ', '.join(f'{k} {n} ({m})' for k, (n, m) in r['kinds'].items()))
    for n in (1000, 2000) if small else (2500, 5000, 10_000):
        folder = b.tmp/f'drawn{n}'
        run('draw', n, folder)
        done = run('many', folder)
        r, goal = done.last, n == 10_000
        b.row(
            f'{r["n"]:,} drawn images: scan, pass and copies',
            f'{done.seconds:.1f} s, {done.mb:,.0f} MB',
            goal and '<= 60 s, <= 1,500 MB',
            done.seconds <= 60 and done.mb <= 1500 if goal else None,
        )
        b.row('  scan, pass, copies', f'{r["scan"]:.1f}, {r["embed"]:.1f}, {r["seconds"]:.1f} s')
        b.row('  recall, precision', f'{r["mean"]:.3f} at {r["precision"]:.4f}')
    for n in (10_000, 20_000) if small else (10_000, 20_000, 50_000, 100_000):
        done = run('neighbours', n)
        b.row(f'neighbours among {n:,} vectors', f'{done.last["seconds"]:.1f} s, {done.mb:,.0f} MB')

if __name__ == '__main__':
    what, *rest = sys.argv[1:]
    ways = dict(set=lambda: one_set(rest[0], int(rest[1])), castings=lambda: castings(rest[0]), draw=lambda: draw(int(rest[0]), rest[1]),
                many=lambda: many(rest[0]), neighbours=lambda: neighbours(int(rest[0])))
    print(json.dumps(ways[what]()))
