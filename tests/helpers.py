"What tests draw and stand in with: images, labelled folders, odd files, an engine without a network"
import hashlib, io, shutil, struct, time, zlib
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from PIL import Image

repo = Path(__file__).resolve().parent.parent

def image(seed, w=64, h=48):
    "A smooth pattern, the same for the same seed"
    a = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(a).resize((w, h), Image.Resampling.BICUBIC)

def as_bytes(im, format='JPEG', **kw):
    "The bytes of a file"
    f = io.BytesIO()
    im.save(f, format, **kw)
    return f.getvalue()

def write_folder(root, start=0, **counts):
    "`root/<class>/<i>.png` for each class and count; numbers and patterns go on from `start`"
    for c, (label, n) in enumerate(counts.items()):
        (root/label).mkdir(parents=True, exist_ok=True)
        for i in range(start, start+n): image((c, i), 24, 24).save(root/label/f'{i:03}.png')
    return root

def files_of(clf, paths):
    "The files of images that a classifier names without their private folders"
    from quickcls.saved.known_images import images_of
    images = images_of(clf)
    return [str(images.find(p)[0]) for p in paths]

def some_parts(root, some):
    "A slice of each class of the drawn parts, copied below `root`"
    for label in ('defect', 'ok'):
        (root/label).mkdir(parents=True)
        for p in sorted((repo/'datasets'/'parts'/label).glob('*.jpg'))[some]: shutil.copy(p, root/label)
    return root

def png_header(w, h):
    "A PNG of under 100 bytes that claims to be of `w` × `h` pixels"
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(b'\0'))
        + chunk(b'IEND', b'')
    )


def flat_png(w, h, colour=2, channels=3):
    "A valid PNG of one colour: 89 megapixels fit into 300 kB"
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    pack, row, rows = zlib.compressobj(9), b'\0' + b'\x80'*(w*channels), b''
    for _ in range(h): rows += pack.compress(row)
    head = struct.pack('>IIBBBBB', w, h, 8, colour, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', rows + pack.flush()) + chunk(b'IEND', b'')

def lossless_jpeg(im):
    "A valid lossless JPEG (SOF3) of a grey image: each pixel is told by the one to its left, Huffman codes of four bits for the lengths"
    a = np.asarray(im.convert('L')).astype(int)
    told = np.empty_like(a)
    told[:, 1:], told[1:, 0], told[0, 0] = a[:, :-1], a[:-1, 0], 128
    def code(d):
        n = abs(d).bit_length()
        return f'{n:04b}' + (f'{d if d > 0 else d + (1 << n) - 1:0{n}b}' if n else '')
    bits = ''.join(code(d) for d in (a - told).ravel().tolist())
    bits += '1'*(-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits)//8, 'big').replace(b'\xff', b'\xff\0')
    def segment(marker, body): return struct.pack('>BBH', 255, marker, len(body) + 2) + body
    frame = struct.pack('>BHHB3B', 8, *a.shape, 1, 1, 0x11, 0)
    return (
        b'\xff\xd8'
        + segment(0xC3, frame)
        + segment(0xC4, bytes([0, 0, 0, 0, 9, *[0] * 12, *range(9)]))
        + segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
        + data
        + b'\xff\xd9'
    )


def halves(top, bottom, mode='RGB', size=40):
    "An image of two colours, one above the other"
    im = Image.new(mode, (size, size), bottom)
    im.paste(top, (0, 0, size, size//2))
    return im

def with_orientation(n):
    "EXIF that says how the camera was held; 6: the right side of the file is the bottom of the scene"
    exif = Image.Exif()
    exif[0x0112] = n
    return exif

def odd_images():
    "name → bytes: good images of every mode and kind"
    palette = halves('red', 'blue').quantize(4)
    alpha = halves((255, 0, 0, 255), (0, 0, 0, 0), 'RGBA')
    deep = np.repeat(np.linspace(1000, 3000, 40).astype(np.uint16)[:, None], 40, 1)
    return {
        'turned.jpg': as_bytes(halves('red', 'blue'), exif=with_orientation(6)),
        'grey.png': as_bytes(halves(255, 0, 'L'), 'PNG'),
        'grey-alpha.png': as_bytes(halves((0, 255), (0, 0), 'LA'), 'PNG'),
        'alpha.png': as_bytes(alpha, 'PNG'),
        'palette.png': as_bytes(palette, 'PNG', transparency=palette.getpixel((0, 39))),
        'ink.jpg': as_bytes(halves((0, 255, 255, 0), (255, 255, 0, 0), 'CMYK')),
        'deep.png': as_bytes(Image.fromarray(deep), 'PNG'),
        'moving.gif': as_bytes(Image.new('RGB', (40, 40), 'red'), 'GIF', save_all=True, append_images=[Image.new('RGB', (40, 40), 'blue')]),
        'web.webp': as_bytes(halves('red', 'blue'), 'WEBP'),
        'dot.png': as_bytes(Image.new('RGB', (1, 1), 'red'), 'PNG'),
        'wide.jpg': as_bytes(image(1, 3000, 20)),
    }


def bad_files():
    "name → (bytes, reason): what a scan skips"
    return {
        'page.jpg': (b'\n<!DOCTYPE html><html><body>Not found', 'an HTML page, not an image'),
        'note.jpg': (b'403 Forbidden', 'text, not an image'),
        'empty.jpg': (b'', 'empty file'),
        'bomb.png': (png_header(30_000, 30_000), 'a decompression bomb: over 300 megapixels'),
        'huge.png': (
            png_header(12_000, 12_000),
            '144 megapixels take 720 MB to decode, and 700 are allowed; QUICKCLS_IMAGE_MEMORY=720 allows more',
        ),
        'noise.jpg': (bytes(range(256)), 'none of the formats that are opened (JPEG, PNG, GIF, WEBP, BMP, TIFF, PPM, MPO, AVIF, HEIF)'),
        'drawing.svg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'an SVG drawing; only images made of pixels can be used'),
        'phone.heic': (
            b'\0\0\0\x18ftypheic\0\0\0\0',
            'a damaged file: it begins like a HEIC photo, and cannot be read as one'
            if find_spec('pillow_heif')
            else 'a HEIC photo; to read those: pip install pillow-heif, or save it as JPEG',
        ),
    }


def broken_images():
    "name → bytes: a scan reads only the header, so these come to light when they are loaded"
    rough = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return {'half.jpg': as_bytes(rough)[:1500], 'half.png': as_bytes(rough, 'PNG')[:2000]}

class MeanColour:
    "An engine without a network: the embedding is the mean colour, in [0, 1]"
    name, precision, streams = 'mean-colour', 'f32', 1
    def __init__(self, seconds=0): self.seconds = seconds  # for one batch

    def start(self, batch, done):
        time.sleep(self.seconds)
        done((batch.mean((1, 2)) / 255).astype(np.float32))

    def wait(self): pass

def tiny_graph(size=16, resize='squish', digest=None):
    "What `embed_items` asks of a graph, for `MeanColour`"
    from quickcls.backbones.registry import View, backbones
    return SimpleNamespace(view=View(backbones['resnet18'], size, resize), digest=digest or f'mean-colour-{size}', dim=3)

def classifier_folder(root, vocab, n, *, wrong=.2, images=None, **extra):
    """A folder as `train` leaves it but for the network: `n` held-out and `n` training rows, a share of them wrong;
    images by path; `extra` goes into metrics.json"""
    import json, pandas as pd
    from quickcls.evaluate.predictions import prediction_table
    rng = np.random.default_rng(7)
    y = np.arange(2*n) % len(vocab)
    top = np.where(rng.random(2*n) < wrong, (y + 1 + rng.integers(0, max(len(vocab) - 1, 1), 2*n)) % len(vocab), y)
    probs = rng.dirichlet([.5]*len(vocab), 2*n)*.4
    probs[np.arange(2*n), top] += .6
    paths = images or [f'gone/{i:05}.jpg' for i in range(2*n)]
    table = pd.DataFrame(
        dict(
            path=paths,
            label=[vocab[i] for i in y],
            split=np.repeat(['valid', 'train'], n),
            sha256=[hashlib.sha256(Path(p).read_bytes()).hexdigest() if Path(p).is_file() else f'{i:064x}' for i, p in enumerate(paths)],
        )
    )
    root.mkdir(parents=True)
    table = prediction_table(table, probs, vocab)
    table.to_csv(root/'predictions.csv', index=False)
    view = dict(backbone=dict(name='resnet34'), size=224, resize='squish', digest='0', weights='hub')
    info = dict(
        format=1,
        vocab=vocab,
        views=[view],
        levels='all',
        head=dict(kind='linear', layers=[], notes=dict(C=0.1)),
        temperature=1.0,
        open_set=None,
        versions=dict(quickcls='0.1.0', python='3.11'),
    )
    (root/'classifier.json').write_text(json.dumps(info))
    data = dict(
        folder=str(Path(images[0]).parent) if images else '/home/ann/secret/pets',
        n_train=n,
        n_valid=n,
        fingerprint='0123456789abcdef',
        seed=42,
        valid_pct=0.3,
    )
    (root/'metrics.json').write_text(json.dumps(dict(data=data, notes=[], skipped=[], **extra)))
    return table

def full_trust(vocab):
    "Every part of `trust` in metrics.json, with plausible numbers"
    bins = [dict(confidence=c, accuracy=c - .02, n=20, low=c - .1, high=min(1, c + .08)) for c in (.55, .75, .95)]
    points = [dict(share=s, n=int(200*s), accuracy=.8 + .1*s, low=.75 + .1*s, high=.85 + .1*s) for s in (.25, .5, 1)]
    scores = dict(accuracy=.9, balanced_accuracy=.88, macro_f1=.87)
    return dict(
        cross_validation=dict(scores, interval=[0.87, 0.92], folds=5, repeats=2, n=400, per_repeat=[0.9, 0.9], untested=0),
        calibration=dict(temperature=1.3, ece_before=0.08, ece_after=0.03, ece_chance=0.04, n=400, bins=bins, bins_before=bins),
        learning_curve=dict(
            head='linear',
            points=points,
            fit=dict(a=0.5, b=0.4, c=0.01),
            forecast=dict(n=400, accuracy=0.92, low=0.9, high=0.94),
            per_class=[dict(zip(('class', 'n', 'error', 'forecast', 'more'), (c, 30, 0.1, 0.08, 40))) for c in vocab],
            advice=f'Add images of {vocab[0]}.',
        ),
        class_weights=dict(
            largest=[vocab[0], 50],
            smallest=[vocab[1], 10],
            ratio=5.0,
            used=False,
            plain=scores,
            weighted=dict(scores, balanced_accuracy=0.9),
        ),
        warnings=[f'Few images of {vocab[1]}.'],
    )

@contextmanager
def window(browser, url, ready, before='', **context):
    "A window of a new visitor, once `ready` is there; no error in it, no request to anywhere else"
    with browser.new_context(**dict(viewport=dict(width=1280, height=800)) | context) as c:
        tab, odd = c.new_page(), []
        tab.on('pageerror', lambda e: odd.append(f'error {e}'))
        tab.on('request', lambda r: None if r.url.startswith(('data:', 'blob:', url)) else odd.append(f'request {r.url[:80]}'))
        tab.set_default_timeout(60_000)
        if before: tab.add_init_script(before)
        tab.goto(url)
        tab.wait_for_selector(ready)
        yield tab
        assert odd == []
