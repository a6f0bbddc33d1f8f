"Copies of an image are found and nothing else is; the best one is kept, and the finding says what to do"
import hashlib, io, json
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from tests import photos
from tests.helpers import as_bytes, image, repo
from quickcls.data.items import scan_folder
from quickcls.duplicates.keep import best_of
from quickcls.duplicates.near import find_pairs
from quickcls.findings.copies import find_copies, groups_of
from quickcls.findings.finding import Examined

def marked(im):
    "With a watermark"
    d = ImageDraw.Draw(out := im.copy())
    d.text((im.width*.12, im.height*.42), '© sample', fill='white', font=ImageFont.load_default(max(12, im.height//8)))
    return out

changes = dict(
    crop=lambda im: im.crop([round(s*n) for s, n in zip((.12, .12, .88, .88), im.size*2)]),
    mirrored=ImageOps.mirror,
    flipped=ImageOps.flip,
    turned=lambda im: im.rotate(25, Image.Resampling.BICUBIC, expand=True),
    wide=lambda im: im.resize((im.width*7//5, im.height)),
    half=lambda im: im.resize((im.width//2, im.height//2)),
    poor=lambda im: Image.open(io.BytesIO(as_bytes(im, quality=60))),
    marked=marked,
    quarter=lambda im: im.transpose(Image.Transpose.ROTATE_90),
    recoloured=lambda im: ImageEnhance.Color(im).enhance(.2),
)

def colours(table):
    "What stands in for embeddings: the mean colours of 4 × 4 fields"
    return np.stack([np.asarray(Image.open(p).convert('RGB').resize((4, 4), Image.Resampling.BOX), np.float32).ravel() for p in table.path])

def pairs_of(table): return find_pairs(table, colours(table), [[0, 48]])

def photo(seed):
    "A drawing that is like no other: a pattern, and shapes on it"
    im, rng = image(seed, 320, 240), np.random.default_rng(seed)
    d = ImageDraw.Draw(im)
    for _ in range(40):
        x, y, r = *rng.integers(0, (320, 240)), rng.integers(4, 30)
        box, fill = [x - r, y - r*rng.uniform(.4, 1), x + r, y + r*rng.uniform(.4, 1)], tuple(rng.integers(0, 256, 3))
        (d.ellipse if rng.random() < .5 else d.rectangle)([float(v) for v in box], fill=fill)
    return im

def folder_with_copies(root, originals, few):
    "Originals as they come, and every copy of some of them: `<number>.jpg`, `<number>_<change>.jpg`"
    for i, im in enumerate(originals):
        (root/'abc'[i % 2]).mkdir(parents=True, exist_ok=True)
        im.save(root/'abc'[i % 2]/f'{i:03}.jpg', quality=92)
        for name, change in changes.items() if i in few else ():
            change(im).convert('RGB').save(root/'abc'[i % 2]/f'{i:03}_{name}.jpg', quality=60 if name == 'poor' else 90)
    return scan_folder(root).table

parts = [Image.open(p).convert('RGB') for p in sorted((repo/'datasets'/'parts').glob('*/*.jpg'))[::4]]

@pytest.mark.parametrize('originals', [[photo(i) for i in range(60)], parts], ids=['unlike', 'alike'])
def test_all_copies_and_nothing_else(originals, tmp_path):
    "Each of ten changes is found, and no two originals are taken for one, also where all images look alike"
    few = range(0, 60, 12)
    table = folder_with_copies(tmp_path, originals, few)
    name = table.path.map(lambda p: Path(p).stem)
    groups = [set(name[g]) for g in groups_of(pairs_of(table))]
    assert all(len({n[:3] for n in g}) == 1 for g in groups)
    found = {n for g in groups for n in g}
    assert sorted(set(name[name.str.contains('_')]) - found) == []
    assert {f'{i:03}' for i in few} <= found

@pytest.fixture
def pets(tmp_path):
    "Function: (class, split or None, name, bytes) rows → items of that folder"
    def write(*rows):
        for label, split, name, data in rows:
            place = tmp_path/'pets'/(split or '.')/label
            place.mkdir(parents=True, exist_ok=True)
            (place/name).write_bytes(data)
        return scan_folder(tmp_path/'pets')
    return write

def found_in(items): return find_copies(Examined(items, None, []), pairs_of(items.table))

def names(found): return [Path(p).name for p in found.images]

def test_the_same_bytes_and_the_same_pixels(pets):
    "A renamed file, and a file that was only written anew without loss"
    a, b, c = (photo(i) for i in range(3))
    items = pets(
        ('cat', None, 'a.png', as_bytes(a, 'PNG')),
        ('cat', None, 'a copy.png', as_bytes(a, 'PNG')),
        ('dog', None, 'b.png', as_bytes(b, 'PNG')),
        ('dog', None, 'b.bmp', as_bytes(b, 'BMP')),
        ('dog', None, 'c.png', as_bytes(c, 'PNG')),
    )
    assert sorted(pairs_of(items.table).how) == ['bytes', 'pixels']
    found = found_in(items)
    assert [(f.kind, f.act, f.split, f.score) for f in found] == [('exact-duplicate', 'quarantine', 'train', 1)]*2
    assert [sorted(names(f)) for f in found] == [['a copy.png', 'a.png'], ['b.bmp', 'b.png']]
    assert all(f.images[-1] == f.keep and json.loads(f.line())['keep'] == f.keep for f in found)

def test_a_copy_under_another_label(pets):
    "Nothing is moved by itself: which label is right is for a person"
    a = photo(1)
    mirrored = as_bytes(ImageOps.mirror(a))
    items = pets(('cat', None, 'a.jpg', as_bytes(a)), ('dog', None, 'm.jpg', mirrored), ('dog', None, 'b.jpg', as_bytes(photo(2))))
    found, = found_in(items)
    assert (found.kind, found.act, found.keep, sorted(names(found))) == ('two-labels', None, None, ['a.jpg', 'm.jpg'])
    assert 'cat' in found.evidence and 'dog' in found.evidence and 'mirrored' in found.evidence

def test_a_copy_in_the_test_set(pets):
    "The leak is told, and copies within training are a finding of their own, which can be applied without touching a test image"
    a = photo(1)
    items = pets(
        ('cat', 'train', 'a.jpg', as_bytes(a, quality=95)),
        ('cat', 'train', 'small.jpg', as_bytes(a.resize((160, 120)))),
        ('cat', 'test', 't.jpg', as_bytes(a, quality=80)),
        ('dog', 'train', 'b.jpg', as_bytes(photo(2))),
        ('dog', 'test', 'c.jpg', as_bytes(photo(3))),
    )
    leak, own = found_in(items)
    assert (leak.kind, leak.split, leak.act, len(leak.images)) == ('leak', 'both', None, 3)
    assert (own.kind, own.split, own.act, names(own)) == ('near-duplicate', 'train', 'quarantine', ['small.jpg', 'a.jpg'])
    assert 'largest' in own.evidence

def test_ten_copies_are_one_finding(tmp_path):
    "Images are counted, not pairs"
    folder_with_copies(tmp_path, [photo(i) for i in range(8)], [3])
    found, = found_in(scan_folder(tmp_path))
    assert len(found.images) == 11 and len(set(found.images)) == 11 and found.kind == 'near-duplicate'

def rows(folder, *files):
    "An items table of files"
    return pd.DataFrame([dict(path=str(folder/f), sha256=f, **dict(zip(('width', 'height'), Image.open(folder/f).size))) for f in files])

def test_which_copy_is_kept(tmp_path):
    "The largest, the least compressed, the oldest; not one that was turned and filled"
    im = photo(1)
    old, new = Image.Exif(), Image.Exif()
    old[0x0132], new[0x0132] = '2019:03:01 10:00:00', '2024:03:01 10:00:00'
    im.save(tmp_path/'best.jpg', quality=90, exif=old)
    im.save(tmp_path/'later.jpg', quality=90, exif=new)
    im.save(tmp_path/'poor.jpg', quality=50, exif=old)
    im.resize((100, 75)).save(tmp_path/'small.png')
    im.rotate(20, expand=True).save(tmp_path/'turned.png')
    for other, word in (('later.jpg', '2019-03-01'), ('poor.jpg', 'compressed'), ('small.png', '320 × 240'), ('turned.png', 'turned')):
        for order in (('best.jpg', other), (other, 'best.jpg')):
            path, why = best_of(rows(tmp_path, *order))
            assert Path(path).name == 'best.jpg' and word in why

def test_what_cannot_be_compared(tmp_path):
    "White images, one pixel, a file that is gone: no pair, no error"
    for name in ('one', 'two', 'three'): Image.new('RGB', (60 + len(name), 40), 'white').save(tmp_path/f'{name}.png')
    Image.new('RGB', (1, 1)).save(tmp_path/'dot.png')
    table = rows(tmp_path, 'one.png', 'two.png', 'three.png', 'dot.png')
    x = colours(table)
    (tmp_path/'two.png').unlink()
    assert not len(find_pairs(table, x, [[0, 48]]))
    assert not len(find_pairs(table[:1], x[:1], [[0, 48]])) and not len(find_pairs(table[:0], x[:0], [[0, 48]]))

def test_the_leak_in_the_castings():
    "The 64 files that are in train and in test, among others of that set"
    if not (photos.folder/'casting').is_dir(): pytest.skip('no casting')
    files = sorted((photos.folder/'casting').glob('t*/ok_front/*'))
    table = pd.DataFrame(dict(path=map(str, files), label='ok_front', split=[p.parts[-3] for p in files], width=300, height=300))
    table['sha256'] = [hashlib.sha256(p.read_bytes()).hexdigest() for p in files]
    twice = table.sha256.duplicated(keep=False)
    table = table[twice | (np.arange(len(table)) % 60 == 0)].reset_index(drop=True)
    pairs = find_pairs(table, np.random.default_rng(0).normal(size=(len(table), 16)).astype(np.float32), [[0, 16]])
    found = find_copies(Examined(SimpleNamespace(table=table), None, []), pairs[pairs.how == 'bytes'])
    leaks = [f for f in found if f.kind == 'leak']
    assert len(leaks) == 64 and all({Path(p).parts[-3] for p in f.images} == {'train', 'test'} for f in leaks)
    assert all(len({Path(p).read_bytes() for p in f.images}) == 1 for f in leaks)
