"""Images with several kinds in them and boxes that are known, made from labelled photographs: what `bench_tag` measures on.

Two or three photographs of different classes, each with a longer side of 150 to 320 pixels, stand without overlap on a canvas of 640 × 480.
Behind them is, in turn, one colour, a gradient between two, or a piece of a foreign photograph. The same seed gives the same collages."""
import numpy as np
from PIL import Image

canvas = (640, 480)

def collages(
    images:list, # (path, label) pairs
    backgrounds:list, # Paths of photographs that show none of the labels
    n:int, # How many collages
    seed:int
): # Generator of (PIL image, [(label, [x0, y0, x1, y1]), …])
    "Collages with their truth"
    rng = np.random.default_rng(seed)
    kinds = sorted({l for _, l in images})
    for i in range(n):
        chosen = rng.choice(kinds, min(len(kinds), int(rng.integers(2, 4))), replace=False)
        paths = [rng.choice([str(p) for p, l in images if l == k]) for k in chosen]
        yield _collage(list(zip(paths, map(str, chosen))), _background(i, backgrounds, rng), rng)

def _collage(parts, im, rng):
    "`parts` pasted one after the other, where there is module"
    boxes = []
    while len(boxes) < len(parts): # a first one in the middle may leave no module: begin again
        boxes = []
        for path, _ in parts:
            with Image.open(path) as p: box = _place(p.size, boxes, rng)
            if box is None: break
            boxes.append(box)
    for (path, _), (x0, y0, x1, y1) in zip(parts, boxes):
        with Image.open(path) as p:
            im.paste(p.convert('RGB').resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, reducing_gap=2.0), (x0, y0))
    return im, [(label, box) for (_, label), box in zip(parts, boxes)]

def _place(size, boxes, rng, tries=40):
    "A box of a random size and place that touches no other, or None"
    for _ in range(tries):
        scale = rng.uniform(150, 320)/max(size)
        w, h = (max(1, round(s*scale)) for s in size)
        if w > canvas[0] or h > canvas[1]: continue
        x, y = int(rng.integers(0, canvas[0] - w + 1)), int(rng.integers(0, canvas[1] - h + 1))
        if all(x + w <= a or x >= c or y + h <= b or y >= d for a, b, c, d in boxes): return [x, y, x + w, y + h]

def _background(i, photographs, rng):
    "One colour, a gradient or a piece of a photograph, in turn"
    if i % 3 == 0: return Image.new('RGB', canvas, tuple(int(v) for v in rng.integers(0, 256, 3)))
    if i % 3 == 1:
        a, b = rng.integers(0, 256, (2, 3))
        t = np.linspace(0, 1, canvas[0])[None, :, None]*np.ones((canvas[1], 1, 1))
        return Image.fromarray((a + (b - a)*t).astype(np.uint8))
    with Image.open(photographs[int(rng.integers(len(photographs)))]) as p:
        im = p.convert('RGB')
        side = rng.uniform(.5, 1)
        w, h = min(im.width, im.height*canvas[0]/canvas[1])*side, min(im.height, im.width*canvas[1]/canvas[0])*side
        x, y = rng.uniform(0, im.width - w), rng.uniform(0, im.height - h)
        return im.resize(canvas, Image.Resampling.BILINEAR, box=(x, y, x + w, y + h))
