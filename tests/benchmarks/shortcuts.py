"""Twelve shortcuts, each planted into copies of two classes, and clean sets: run by `python -m tests.benchmarks shortcuts`.

The copies are all saved in one way first (JPEG, quality 90, at most 500 pixels, names of random digits, no EXIF), so that only what is
planted differs. The rival is naive Bayes on seven properties: it warns where it is right ten points more often than the majority share.
Prints one JSON object a line."""
import io, json, sys, tempfile, time
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import GaussianNB
from quickcls.backbones.onnx_graph import get_graph
from quickcls.backbones.registry import parse_views
from quickcls.data.images import small_image
from quickcls.data.items import scan_folder
from quickcls.features.embed import Embeddings, late_columns
from quickcls.findings.finding import Examined
from quickcls.findings.properties import properties_of
from quickcls.findings.shortcuts import find_shortcuts

pairs = (('flowers', ('rose', 'tulip')), ('hymenoptera', ('ants', 'bees')))
clean = ('flowers', 'hymenoptera', 'trashnet', 'dogs_angry_happy')
say = lambda **row: print(json.dumps(row), flush=True)

def exif_of(model=None, date=None):
    exif = Image.Exif()
    for tag, value in ((271, model and 'Acme'), (272, model), (306, date)):
        if value: exif[tag] = value
    return exif

def framed(im): return ImageOps.expand(ImageOps.crop(im, m := max(4, round(.03*max(im.size)))), m, 'black')

def marked(im):
    "A text on a box in the corner at the bottom right, as agencies print it"
    im = im.copy()
    w, h = im.size
    draw = ImageDraw.Draw(im)
    draw.rectangle((w*.8, h*.9, w, h), fill='white')
    draw.text((w*.82, h*.92), 'stock photo', fill='black')
    return im

def square(im): return ImageOps.fit(im, (min(im.size),)*2)

plants = { # Name → (what names it in a finding, change of the first class, how the first is saved, how the second is)
    'file format': ('the file format', None, dict(format='PNG'), {}),
    'size': ('the size in pixels', lambda im: ImageOps.scale(im, .7), {}, {}),
    'aspect': ('the aspect ratio', square, {}, {}),
    'grey mode': ('the colour mode', lambda im: im.convert('L'), {}, {}),
    'JPEG quality': ('the JPEG quality', None, dict(quality=70), {}),
    'camera': ('the camera', None, dict(exif=exif_of('One')), dict(exif=exif_of('Two'))),
    'EXIF': ('the presence of EXIF', None, dict(exif=exif_of('One')), {}),
    'date': ('the date', None, dict(exif=exif_of('One', '2024:05:{:02} 10:00:00')), dict(exif=exif_of('One', '2024:08:{:02} 10:00:00'))),
    'file order': ('the file number', None, dict(name='IMG_1{:03}'), dict(name='IMG_2{:03}')),
    'border': ('the border', framed, {}, {}),
    'brightness': ('the brightness', lambda im: im.point(lambda v: v*.45), {}, {}),
    'watermark': ('the brightness of the corners', marked, {}, {}),
    'blur': ('the sharpness', lambda im: im.filter(ImageFilter.GaussianBlur(.012*max(im.size))), {}, {}),
}

def save(im, folder, i, number, format='JPEG', quality=90, exif=None, name='{}'):
    exif = exif or Image.Exif()
    if 306 in exif: exif[306] = exif[306].format(1 + i % 28)
    stem = name.format(i if name != '{}' else number)
    im.save(folder/f'{stem}.{"png" if format == "PNG" else "jpg"}', format, quality=quality, exif=exif)

def planted(root, classes, images, change=None, first=None, second=None):
    "Copies of two classes, the first of them changed"
    rng, numbers = np.random.default_rng(0), iter(np.random.default_rng(1).permutation(9999)[:4000])
    for label, how in zip(classes, (first or {}, second or {})):
        (root/label).mkdir(parents=True)
        for i, im in enumerate(images[label]):
            if change and label == classes[0]: im = change(im)
            own = dict(how)
            if 'exif' in own: own['exif'] = exif_of(own['exif'].get(272), own['exif'].get(306))
            save(im, root/label, i, int(next(numbers)), **own)
    return root

def reopened(im):
    "Saved once as all copies are, so that no trace of its source is left"
    im.save(file := io.BytesIO(), 'JPEG', quality=95)
    return Image.open(file).convert('RGB')

class Bench:
    def __init__(self):
        self.graphs = [get_graph(parse_views('efficientnet_lite0')[0])]
        self.embeddings = Embeddings(self.graphs)

    def found(self, folder):
        "(findings, properties, labels, seconds of both searches)"
        items = scan_folder(folder)
        self.embeddings.embed(items)
        examined = Examined(items, self.embeddings.read(items.table), late_columns(self.graphs, 'all'))
        start = time.perf_counter()
        properties = properties_of(items.table)
        middle = time.perf_counter()
        findings = find_shortcuts(examined, properties)
        return findings, properties, items.table, (middle - start, time.perf_counter() - middle)

def rival(p, t):
    "Does naive Bayes on seven properties warn?"
    keep = (t.split.fillna('train') != 'test') & p.grey.notna()
    p, y = p[keep], t.label[keep]
    x = np.stack([p.format.eq('PNG'), p['mode'].eq('L'), p.width, p.height, p.bytes, p.grey, p.contrast], 1).astype(float)
    x = (x - x.mean(0))/(x.std(0) + 1e-9)
    right = cross_val_score(GaussianNB(var_smoothing=1e-3), x, y, cv=5).mean()
    return bool(right > y.value_counts(normalize=True).max() + .1)

def report(bench, folder, **row):
    findings, p, t, seconds = bench.found(folder)
    said = [f.facts['property'] for f in findings]
    say(said=said, evidence=[f.evidence for f in findings], rival=rival(p, t), seconds=seconds, n=len(t), **row)

if __name__ == '__main__':
    data, bench = Path(sys.argv[1]).resolve(), Bench()
    for name in (*clean, *(['casting'] if len(sys.argv) < 3 else [])): report(bench, data/name, what='casting' if name == 'casting' else 'clean', name=name)
    with tempfile.TemporaryDirectory() as tmp:
        for name, classes in pairs:
            table = scan_folder(data/name).table
            table = table[table.split.fillna('train') == 'train']
            images = {c: [reopened(small_image(p, 500)) for p in table.path[table.label == c]] for c in classes}
            report(bench, planted(Path(tmp)/name, classes, images), what='clean', name=f'{name}, copies of {" and ".join(classes)}')
            for plant, (expected, *how) in plants.items():
                report(bench, planted(Path(tmp)/f'{name} {plant}', classes, images, *how), what='planted', name=f'{name}: {plant}', expected=expected)
