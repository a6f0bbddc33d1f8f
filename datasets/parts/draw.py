"""Draw a labelled set of top views of cast pump impellers: `ok` and `defect`. Run `python draw.py` to redraw it.

Every image is a height map in the piece's own polar coordinates, lit by one lamp. A defect changes the height map,
so light, texture and dirt treat it as they treat sound metal, and nothing but the defect tells the classes apart."""
import argparse
from pathlib import Path
from types import SimpleNamespace as Box

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE, OVER = 300, 2   # pixels a side of an image, and how many times finer it is drawn
FINE = SIDE * OVER
HELD = 10**6          # first index of the held-out images, far past any index of the set itself

# -- helpers
def ramp(x, width):
    "0 well below zero, 1 well above it, and a smooth rise `width` wide between"
    t = np.clip(x / width + .5, 0, 1)
    return t * t * (3 - 2 * t)

def band(x, lo, hi, width):
    "1 between `lo` and `hi`, 0 outside, with ramps `width` wide"
    return ramp(x - lo, width) * ramp(hi - x, width)

def noise(rng, cells):
    "Smooth noise over the fine image, `cells` bumps a side, about -2 to 2"
    small = rng.normal(size=(cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((FINE, FINE), Image.Resampling.BICUBIC))

def around(rng, angle, knots):
    "Noise in 0..1 along a circle of `knots` values, read at `angle`"
    vals = rng.uniform(size=knots)
    return np.interp(angle % (2 * np.pi), np.linspace(0, 2 * np.pi, knots + 1), np.append(vals, vals[0]))

def wrap(a): return (a + np.pi) % (2 * np.pi) - np.pi   # an angle, brought to -pi..pi
def ray(a): return np.stack([np.cos(a), np.sin(a)], -1)  # unit vectors at angles `a`, one a row

def strokes(lines, width):
    "Mask 0..1 of `lines`, each an array of points in fine pixels, drawn `width` pixels thick"
    im = Image.new('L', (FINE, FINE))
    pen = ImageDraw.Draw(im)
    for pts in lines: pen.line([tuple(p) for p in pts.tolist()], fill=255, width=width, joint='curve')
    return np.asarray(im.filter(ImageFilter.GaussianBlur(.8)), np.float32) / 255

# -- the sound piece; lengths are in radii of the piece
def place(rng):
    "Where the piece lies: `u`, `v` and polar `r`, `a` of each fine pixel, in radii; `size` and `middle` in fine pixels"
    size = rng.uniform(.40, .44) * FINE
    x0, y0 = FINE / 2 + rng.uniform(-.025, .025, 2) * FINE
    y, x = np.mgrid[:FINE, :FINE].astype(np.float32)
    u, v = (x - x0) / size, (y - y0) / size
    return Box(size=size, middle=np.array([x0, y0]), u=u, v=v, r=np.hypot(u, v), a=np.arctan2(v, u) + rng.uniform(0, 2 * np.pi))

def spot(rng, s, lo, hi):
    "Distance in radii from a random point of the piece between radii `lo` and `hi`"
    r, a = rng.uniform(lo, hi), rng.uniform(0, 2 * np.pi)
    return np.hypot(s.u - r * np.cos(a), s.v - r * np.sin(a))

def shape(rng):
    "The pattern it was cast from; sound pieces differ in these too"
    return Box(vanes=int(rng.integers(5, 8)), sweep=rng.uniform(.85, 1.15), thick=rng.uniform(.035, .055),
        hub=rng.uniform(.26, .32), bore=rng.uniform(.1, .14), rim=rng.uniform(.87, .91), plate=.10, lift=rng.uniform(.07, .1),
        key=rng.random() < .5)

def vanes(s, p):
    "Mask of the curved vanes, from hub to rim"
    phase = s.a - p.sweep * np.log(np.maximum(s.r, .05) / p.hub)
    off = np.abs(wrap(phase * p.vanes)) / p.vanes * s.r / np.hypot(1, p.sweep)   # distance to the nearest middle line
    return ramp(p.thick - off, .03) * band(s.r, p.hub - .05, p.rim + .04, .05)

def holes(rng, s, p):
    "Mask of the bore, its keyway, and now and then a drilled balancing hole: round and clean, so sound"
    hole, x, y = ramp(p.bore - s.r, .015), s.r * np.cos(s.a), s.r * np.sin(s.a)   # axes that turn with the piece
    if p.key: hole = np.maximum(hole, band(x, 0, p.bore + .035, .015) * ramp(.03 - np.abs(y), .015))
    if rng.random() < .4: hole = np.maximum(hole, .35 * ramp(rng.uniform(.018, .028) - spot(rng, s, .94, .94), .01))
    return hole

def cast(rng, s, p):
    "Height map of a sound piece, 0 on the bench, with sand texture and the turning marks of hub and rim"
    edge = 1 + .008 * (around(rng, s.a, 40) - .5)
    body = p.plate + p.lift * np.maximum.reduce([vanes(s, p), ramp(s.r - p.rim, .04), 1.35 * ramp(p.hub - s.r, .06)])
    body = body - .03 * band(s.r, p.bore, p.bore + .035, .03)   # a chamfer at the bore
    h = body * ramp(edge - s.r, .03) * (1 - holes(rng, s, p))
    cut = ramp(p.hub - .03 - s.r, .02) + ramp(s.r - p.rim - .03, .02)   # where the lathe has been
    sand = rng.uniform(.45, .75) * (.0007 * noise(rng, 210) + .0008 * noise(rng, 90) + .0012 * noise(rng, 30)) * (1 - .8 * cut)
    rings = rng.uniform(.0003, .001) * np.sin(s.r * rng.uniform(180, 320)) * cut
    return h + (sand + rings) * ramp(h - .03, .03)

# -- defects: each changes the height map `h` and the stain map `s.dark`, in place
def blowhole(rng, s, p, h):
    "Gas left round pits with a raised lip"
    for _ in range(rng.integers(2, 7)):
        d, size = spot(rng, s, .36, .95), rng.uniform(.024, .05)
        pit = ramp(size - d, size)
        h += .012 * np.exp(-((d - size * 1.25) / (.3 * size))**2) - .05 * pit
        s.dark += .7 * pit

def burr(rng, s, p, h):
    "Metal has run out between the mould halves: a thin jagged fringe beyond the rim"
    at, half = rng.uniform(0, 2 * np.pi), rng.uniform(.5, 1.1)
    jag = .6 * around(rng, s.a, 70) + .4 * around(rng, s.a, 230)
    reach = rng.uniform(.08, .14) * np.maximum(jag - .2, 0) * 1.4 * ramp(half - np.abs(wrap(s.a - at)), .15)
    np.maximum(h, rng.uniform(.04, .08) * ramp(1 + reach - s.r, .012) * (reach > .004) * (s.r > .9), out=h)

def walk(rng, start, way, steps, stride):
    "A jagged line of `steps` points from `start`, heading `way`"
    ways = way + rng.normal(0, .5, steps) + np.cumsum(rng.normal(0, .12, steps))
    return start + stride * np.cumsum(ray(ways), 0)

def fork(rng, s):
    "One crack: a line from the rim inwards, and its branches"
    a = rng.uniform(0, 2 * np.pi)
    start = s.middle + s.size * .99 * ray(a)
    main = walk(rng, start, a + np.pi, rng.integers(28, 46), s.size * .02)
    turns = rng.choice([-1, 1], 4) * rng.uniform(.4, 1, 4)
    return main, [walk(rng, main[rng.integers(4, 26)], a + np.pi + t, rng.integers(7, 18), s.size * .018) for t in turns]

def crack(rng, s, p, h):
    "Thin dark lines from the rim inwards, with thinner branches"
    mains, twigs = zip(*(fork(rng, s) for _ in range(rng.integers(2, 4))))
    line = np.maximum(strokes(mains, 4), strokes(sum(twigs, []), 2)) * ramp(s.r - p.bore, .02)
    h -= .03 * line
    s.dark += .8 * line

def shrinkage(rng, s, p, h):
    "The metal sank as it froze: a shallow rough hollow"
    d, size = spot(rng, s, .4, .85), rng.uniform(.24, .34)
    hollow = ramp(size * (1 + .25 * noise(rng, 25)) - d, .6 * size)
    h += hollow * (-.035 + .01 * noise(rng, 70) + .006 * noise(rng, 140))
    s.dark += .26 * hollow

def shortfill(rng, s, p, h):
    "The metal froze before it filled the mould: a rounded bite out of the rim, vanes washed out around it"
    a, ragged = rng.uniform(0, 2 * np.pi), 1 + .12 * noise(rng, 20)
    d = np.hypot(s.u - np.cos(a), s.v - np.sin(a))
    h -= ramp(rng.uniform(.3, .45) * ragged - d, .06) * np.maximum(h - p.plate, 0) * .95
    h *= ramp(d - rng.uniform(.14, .26) * ragged, .06)

DEFECTS = [blowhole, burr, crack, shrinkage, shortfill]

# -- dirt and wear, on both classes alike
def specks(rng, s):
    "Dust and grit: dark or light dots without relief"
    for _ in range(rng.integers(3, 16)):
        x, y, size = rng.uniform(-1.1, 1.1), rng.uniform(-1.1, 1.1), rng.uniform(.006, .02)
        s.dark += rng.uniform(-.25, .5) * ramp(size - np.hypot(s.u - x, s.v - y), .012)

def stains(rng, s):
    "Oil: soft dark patches with a wandering edge"
    for _ in range(rng.integers(0, 3)):
        size = rng.uniform(.08, .3)
        s.dark += rng.uniform(.08, .3) * ramp(size * (1 + .25 * noise(rng, 12)) - spot(rng, s, 0, 1), .4 * size)

def drawn(rng, s, steps, bend):
    "A line of `steps` points that starts anywhere on the piece; `bend` is its turn a step in radians, 0 for straight"
    ways = rng.uniform(0, 2 * np.pi) + bend * np.cumsum(rng.normal(0, 1, steps))
    return s.middle + s.size * (rng.uniform(-.75, .75, 2) + .03 * np.cumsum(ray(ways), 0))

def marks(rng, s, h):
    "Scratches, straight and bright, and now and then a fibre, bent and dark"
    cuts = strokes([drawn(rng, s, rng.integers(5, 20), .01) for _ in range(rng.integers(0, 5))], 1)
    hair = strokes([drawn(rng, s, rng.integers(6, 16), .2) for _ in range(rng.integers(0, 2))], 2)
    h -= .003 * cuts
    s.dark += rng.uniform(.2, .5) * hair - .25 * cuts

# -- light and camera
BENCHES = [(38, 42, 40), (34, 38, 46), (52, 46, 40), (30, 44, 38), (58, 58, 60)]   # rubber, slate, wood, green belt, steel

def bench(rng, s):
    "Colour of the ground: one of the benches, with grain along one direction and blotches"
    colour = np.array(BENCHES[rng.integers(len(BENCHES))]) / 255 * rng.uniform(.7, 1.3)
    a = rng.uniform(0, np.pi)
    grain = np.sin((s.u * np.cos(a) + s.v * np.sin(a)) * rng.uniform(40, 90) + noise(rng, 15)) * rng.uniform(0, .05)
    return colour * (1 + grain + .05 * noise(rng, 8) + .04 * noise(rng, 200))[..., None]

def shadow(h, light, steps=12, stride=5):   # stride in fine pixels; steps * stride is the longest shadow
    "How much of the lamp each pixel sees, 0..1: step towards the lamp, and look whether something stands higher"
    flat, far = np.hypot(light[0], light[1]), steps * stride
    over, wide = np.zeros_like(h), np.pad(h, far)
    for d in range(stride, far + 1, stride):
        dx, dy = (int(round(d * light[i] / flat)) for i in (0, 1))
        over = np.maximum(over, wide[far + dy:far + dy + FINE, far + dx:far + dx + FINE] - d * light[2] / flat - h)
    return 1 - ramp(over - 3, 9)

def lamp(rng):
    "Unit vector towards the lamp: from any side, and high enough to see into the pockets between the vanes"
    az, el = rng.uniform(0, 2 * np.pi), rng.uniform(.85, 1.05)   # radians; el above the bench
    return np.append(ray(az) * np.cos(el), np.sin(el))

def glow(rng, s, h, light, seen):
    "The metal alone: Lambert and Blinn over its normals, stains dulling both"
    gy, gx = np.gradient(h)
    norm = np.stack([-gx, -gy, np.ones_like(h)], -1) / np.sqrt(gx**2 + gy**2 + 1)[..., None]
    half = (light + [0, 0, 1]) / np.linalg.norm(light + [0, 0, 1])   # the camera looks straight down
    shine = rng.uniform(.25, .45) * np.clip(norm @ half, 0, 1)**rng.uniform(18, 45) * (1 - .6 * np.clip(s.dark, 0, 1))
    lit = rng.uniform(.28, .34) + .7 * seen * np.clip(norm @ light, 0, 1)
    clean = np.clip(1 - s.dark + .05 * noise(rng, 10), .08, 1.3)
    return rng.uniform(.56, .66) * rng.normal(1, .01, 3) * (clean * lit)[..., None] + (shine * seen)[..., None]

def shade(rng, s, h):
    "Light the height map `h` (fine pixels): metal where there is height, the bench elsewhere"
    light = lamp(rng)
    seen, metal = shadow(h, light), ramp(h / s.size - .02, .02)[..., None]
    aim = 1 + rng.uniform(.05, .25) * (s.u * light[0] + s.v * light[1])   # the lamp is near, so its side is brighter
    ground = bench(rng, s) * (.45 + .8 * seen[..., None])
    return (metal * glow(rng, s, h, light, seen) + (1 - metal) * ground) * aim[..., None]

def photo(rng, fine):
    "What the camera makes of it: vignette, exposure, white balance, blur, sensor noise"
    x = fine.reshape(SIDE, OVER, SIDE, OVER, 3).mean((1, 3))
    v, u = np.mgrid[-1:1:SIDE * 1j, -1:1:SIDE * 1j]
    x = x * (1 - rng.uniform(.08, .22) * (u**2 + v**2))[..., None] * rng.uniform(.8, 1.2) * rng.normal(1, .015, 3)
    x = np.clip(x, 0, 1)**.85 * 255
    im = Image.fromarray(x.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(.3, .6)))
    x = np.asarray(im) + rng.normal(0, rng.uniform(.5, 1.5), (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(x, 0, 255).astype(np.uint8))

def draw(seed, k, kind=None):
    "Image `k` of the set `seed`; the same numbers give the same image. `kind` is one of `DEFECTS`, or None if sound"
    rng = np.random.default_rng([seed, k])
    s, p = place(rng), shape(rng)
    s.dark = np.zeros((FINE, FINE))
    h = cast(rng, s, p).astype(float)
    if kind: kind(rng, s, p, h)
    specks(rng, s), stains(rng, s), marks(rng, s, h)
    return photo(rng, shade(rng, s, h * s.size))

# -- the set
def save(im, path):
    "Write a JPEG; quality 76 keeps 240 images under 3.5 MB"
    path.parent.mkdir(parents=True, exist_ok=True)
    im.save(path, quality=76)

def draw_set(out, held_out, n, seed):
    "Write `n` images a class, two held-out ones, and the list of defect kinds; odd indices are defects"
    kinds = [DEFECTS[i % len(DEFECTS)] for i in range(n)]
    for i, kind in enumerate(kinds):
        save(draw(seed, 2 * i), out/'ok'/f'{i:03}.jpg')
        save(draw(seed, 2 * i + 1, kind), out/'defect'/f'{i:03}.jpg')
    save(draw(seed, HELD), held_out/'ok.jpg')
    save(draw(seed, HELD + 1, crack), held_out/'defect.jpg')
    rows = [f'defect/{i:03}.jpg,{kind.__name__}\n' for i, kind in enumerate(kinds)]
    (out/'defects.csv').write_text('path,kind\n' + ''.join(rows), newline='\n')

def main():
    p = argparse.ArgumentParser(description='Draw top views of cast pump impellers, sound and defective')
    p.add_argument('--out', type=Path, default=Path(__file__).parent, help='folder to write to (default: beside this script)')
    held_out = Path(__file__).parents[2]/'docs'/'parts'
    p.add_argument('--held-out', type=Path, default=held_out, help='folder for the two held-out images (default: docs/parts)')
    p.add_argument('--n', type=int, default=120, help='images per class (default: 120)')
    p.add_argument('--seed', type=int, default=7, help='another seed draws another set (default: 7)')
    args = p.parse_args()
    draw_set(args.out, args.held_out, args.n, args.seed)

if __name__ == '__main__': main()
