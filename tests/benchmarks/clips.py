"""Look-alike groups: frames of simulated clips among single photos, as JSON lines.

`python -m tests.benchmarks.clips DATA` reads flowers and hymenoptera of DATA, cuts 20 of their photos into clips of twelve frames each (the
window pans and zooms, the light drifts, each frame is saved anew as JPEG) and asks which images are grouped; the names say nothing.
Seconds are of the processor, after the embedding pass: `first` decodes, `again` reads from the store."""
import hashlib, json, shutil, sys, tempfile, time
from pathlib import Path

def cut_clip(im, n:int, rng)->list: # PIL images
    "Frames of a window that moves over a photo; it pans by up to a quarter of the photo, zooms by up to a quarter, and the light drifts"
    import numpy as np
    from PIL import Image, ImageEnhance
    (w, h), first = im.size, rng.uniform(.55, .8)
    last = min(first*rng.uniform(.8, 1.25), .85)
    start = rng.uniform(0, 1 - first, 2)
    end = np.clip(start + rng.uniform(-.25, .25, 2), 0, 1 - last)
    dark, light = rng.uniform(.7, 1.1), rng.uniform(.8, 1.3)
    frames = []
    for a in np.linspace(0, 1, n):
        part = first + (last - first)*a
        x, y = np.clip(start + (end - start)*a + rng.normal(0, .006, 2), 0, 1 - part)
        box = x*w, y*h, (x + part)*w, (y + part)*h
        frame = im.resize((round(first*w), round(first*h)), Image.Resampling.BICUBIC, box=box)
        frames.append(ImageEnhance.Brightness(frame).enhance(dark + (light - dark)*a + rng.normal(0, .03)))
    return frames

def write_clips(photos:list, root:Path, rng, *, clips:int=20, frames:int=12)->dict: # name of a file → number of its clip
    "Photos, some of them as clips, below `root`, in folders of the same names"
    from PIL import Image
    chosen, of = set(rng.choice(len(photos), clips, replace=False).tolist()), {}
    for i, p in enumerate(photos):
        place = root/p.parent.name
        place.mkdir(parents=True, exist_ok=True)
        if i not in chosen: shutil.copy(p, place/p.name)
        else:
            for k, frame in enumerate(cut_clip(Image.open(p).convert('RGB'), frames, rng)):
                name = hashlib.sha256(f'{i} {k}'.encode()).hexdigest()[:12] + 'x.jpg'
                frame.save(place/name, quality=85)
                of[name] = i
    return of

def judged(names:list, clips:list)->dict:
    "Share of pairs of one clip that are in one group; share of images without a clip that are grouped"
    from collections import Counter
    def pairs(counts): return sum(n*(n - 1)//2 for n in counts.values())
    inside = [(g, c) for g, c in zip(names, clips) if c is not None]
    sizes, single = Counter(names), [g for g, c in zip(names, clips) if c is None]
    return dict(recall=pairs(Counter(inside))/pairs(Counter(c for _, c in inside)), n_single=len(single),
                single=sum(sizes[g] > 1 for g in single)/len(single))

def of_set(photos:list, seed:int, graphs)->dict:
    "One set of clips among photos, from drawing to judgement"
    import numpy as np
    from quickcls.data.items import scan_folder
    from quickcls.features.embed import Embeddings
    from quickcls.groups.grouping import find_groups
    with tempfile.TemporaryDirectory() as folder:
        of = write_clips(photos, Path(folder), np.random.default_rng(seed))
        items, e = scan_folder(folder), Embeddings(graphs)
        e.embed(items)
        x, seconds = e.read(items.table), []
        for _ in range(2):
            started = time.process_time()
            found = find_groups(items, x, store=e.store)
            seconds.append(time.process_time() - started)
        clips = [of.get(Path(p).name) for p in items.table.path]
        return judged(found.names, clips) | dict(n=len(items), groups=len(found.groups), first=seconds[0], again=seconds[1])

def plain_set(folder:Path, graphs)->dict:
    "How many images of a set as it is are grouped, and how long it takes"
    from quickcls.data.items import scan_folder
    from quickcls.features.embed import Embeddings
    from quickcls.groups.grouping import find_groups
    items, e = scan_folder(folder), Embeddings(graphs)
    e.embed(items)
    x = e.read(items.table)
    find_groups(items, x, store=e.store)
    started = time.process_time()
    found = find_groups(items, x, store=e.store)
    return dict(n=len(items), grouped=found.n, groups=len(found.groups), again=time.process_time() - started)

if __name__ == '__main__':
    from quickcls.groups.splitting import any_network
    data, graphs = Path(sys.argv[1]), any_network()
    photos = [p for name in ('flowers', 'hymenoptera') for p in sorted((data/name).rglob('*.jpg'))]
    for seed in range(3): print(json.dumps(dict(what='clips', seed=seed) | of_set(photos, seed, graphs)), flush=True)
    for name in ('flowers', 'hymenoptera', 'trashnet', 'dogs_angry_happy', 'magnetic_tile/images', 'lego_bricks'):
        print(json.dumps(dict(what='plain', name=name) | plain_set(data/name, graphs)), flush=True)
