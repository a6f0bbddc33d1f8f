"What tests draw and stand in with: pictures, labelled folders, odd files, an engine without a network"
import io, struct, time, zlib
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from PIL import Image

repo = Path(__file__).resolve().parent.parent

def picture(seed, w=64, h=48):
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
        for i in range(start, start+n): picture((c, i), 24, 24).save(root/label/f'{i:03}.png')
    return root

def png_header(w, h):
    "A PNG of under 100 bytes that claims to be of `w` × `h` pixels"
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(b'\0')) + chunk(b'IEND', b'')

def halves(top, bottom, mode='RGB', size=40):
    "A picture of two colours, one above the other"
    im = Image.new(mode, (size, size), bottom)
    im.paste(top, (0, 0, size, size//2))
    return im

def with_orientation(n):
    "EXIF that says how the camera was held; 6: the right side of the file is the bottom of the scene"
    exif = Image.Exif()
    exif[0x0112] = n
    return exif

def odd_pictures():
    "name → bytes: good pictures of every mode and kind"
    palette = halves('red', 'blue').quantize(4)
    alpha = halves((255, 0, 0, 255), (0, 0, 0, 0), 'RGBA')
    deep = np.repeat(np.linspace(1000, 3000, 40).astype(np.uint16)[:, None], 40, 1)
    return {'turned.jpg': as_bytes(halves('red', 'blue'), exif=with_orientation(6)), 'grey.png': as_bytes(halves(255, 0, 'L'), 'PNG'),
            'grey-alpha.png': as_bytes(halves((0, 255), (0, 0), 'LA'), 'PNG'), 'alpha.png': as_bytes(alpha, 'PNG'),
            'palette.png': as_bytes(palette, 'PNG', transparency=palette.getpixel((0, 39))), 'ink.jpg': as_bytes(halves((0, 255, 255, 0), (255, 255, 0, 0), 'CMYK')),
            'deep.png': as_bytes(Image.fromarray(deep), 'PNG'), 'moving.gif': as_bytes(Image.new('RGB', (40, 40), 'red'), 'GIF', save_all=True, append_images=[Image.new('RGB', (40, 40), 'blue')]),
            'web.webp': as_bytes(halves('red', 'blue'), 'WEBP'), 'dot.png': as_bytes(Image.new('RGB', (1, 1), 'red'), 'PNG'), 'wide.jpg': as_bytes(picture(1, 3000, 20))}

def bad_files():
    "name → (bytes, reason): what a scan skips"
    return {'page.jpg': (b'\n<!DOCTYPE html><html><body>Not found', 'an HTML page, not a picture'), 'note.jpg': (b'403 Forbidden', 'text, not a picture'),
            'empty.jpg': (b'', 'empty file'), 'bomb.png': (png_header(30_000, 30_000), 'a decompression bomb: over 178 megapixels'),
            'huge.png': (png_header(10_000, 10_000), '100 megapixels; more than 89 are refused'), 'noise.jpg': (bytes(range(256)), 'no picture format that Pillow knows'),
            'drawing.svg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'an SVG drawing; only pictures made of pixels can be used'),
            'phone.heic': (b'\0\0\0\x18ftypheic\0\0\0\0', 'a HEIC photo, which Pillow cannot read; save it as JPEG')}

def broken_pictures():
    "name → bytes: a scan reads only the header, so these come to light when they are loaded"
    rough = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return {'half.jpg': as_bytes(rough)[:1500], 'half.png': as_bytes(rough, 'PNG')[:2000]}

class MeanColour:
    "An engine without a network: the embedding is the mean colour, in [0, 1]"
    name, precision, streams = 'mean-colour', 'f32', 1
    def __init__(self, seconds=0): self.seconds = seconds # for one batch
    def start(self, batch, done): time.sleep(self.seconds); done((batch.mean((1, 2))/255).astype(np.float32))
    def wait(self): pass

def tiny_graph(size=16, resize='squish', digest=None):
    "What `embed_items` asks of a graph, for `MeanColour`"
    from quickcls.backbones import View, backbones
    return SimpleNamespace(view=View(backbones['resnet18'], size, resize), digest=digest or f'mean-colour-{size}', dim=3)
