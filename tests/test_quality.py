"Poor photos and shortcuts: what is planted is found, and clean sets stay without findings"
import hashlib
from types import SimpleNamespace
import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from quickcls.findings.finding import Examined
from quickcls.findings.properties import properties_of
from quickcls.findings.quality import find_poor_quality
from quickcls.findings.shortcuts import find_shortcuts
from tests import photos
from tests.helpers import as_bytes, repo

def scene(seed, w=240, h=180):
    "A drawn photo: shapes of all sizes on a shaded ground, with grain"
    rng = np.random.default_rng(seed)
    im = Image.fromarray(rng.integers(60, 190, (3, 3, 3), dtype=np.uint8)).resize((w, h), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(im)
    for _ in range(25):
        x, y, r = rng.integers(0, w), rng.integers(0, h), rng.integers(4, 40)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(20, 235, 3).tolist()))
    a = np.asarray(im, np.float32)
    return np.clip(a + rng.normal(0, 3, a.shape), 0, 255).astype(np.uint8)

def written(root, files, split=None):
    "(what is examined, properties) of files: name → (class, bytes)"
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (label, data) in files.items():
        (root/name).write_bytes(data)
        w, h = Image.open(root/name).size
        sha256 = hashlib.sha256(data).hexdigest()
        rows.append(dict(path=str(root/name), label=label, split=split, sha256=sha256, width=w, height=h, group=sha256))
    table = pd.DataFrame(rows)
    return Examined(SimpleNamespace(table=table), None, []), properties_of(table)

def saved(a, **how): return as_bytes(Image.fromarray(a), **how)
def drawn(root, images, **how): return written(root, {f'{n}.jpg': ('a', saved(a, quality=92)) for n, a in images.items()}, **how)
def kinds_of(found): return {f.images[0].rsplit('/', 1)[-1].split('.')[0]: f.kind for f in found}

def test_poor_photos_are_found_among_good_ones(tmp_path):
    "Each under its own kind; a flat but sharp photo is none of them"
    images = {f'good{i}': scene(i) for i in range(30)}
    images |= dict(
        soft=cv2.GaussianBlur(scene(40), (0, 0), 4),
        night=scene(41)//8,
        white=230 + scene(42)//10,
        flat=(scene(43).astype(np.float32)*.2 + 100).astype(np.uint8),
        small=scene(44, 90, 60),
        strip=scene(45, 400, 60),
    )
    found = find_poor_quality(*drawn(tmp_path/'a', images))
    assert kinds_of(found) == dict(soft='blurred', night='dark', white='bright', small='tiny', strip='odd-shape')
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True) and all(.5 <= f.score <= 1 for f in found)
    assert all(f.act is None and f.split == 'train' for f in found)

@pytest.mark.parametrize('change', [lambda a: a//8, lambda a: cv2.GaussianBlur(a, (0, 0), 4), lambda a: 230 + a//10, lambda a: a[::4, ::4]])
def test_a_set_that_is_poor_as_a_whole_is_not_listed(tmp_path, change):
    assert find_poor_quality(*drawn(tmp_path/'a', {f'{i}': change(scene(i)) for i in range(20)})) == []

def test_poor_test_images_stand_apart(tmp_path):
    "They are judged by the level of the training images"
    images = {f'good{i}': scene(i) for i in range(20)} | {f'night{i}': scene(50 + i)//8 for i in range(20)}
    examined, properties = drawn(tmp_path/'a', images)
    assert find_poor_quality(examined, properties) == [] # half of them: that is usual here
    examined.table.loc[20:, 'split'] = 'test'
    found = find_poor_quality(examined, properties)
    assert {f.kind for f in found} == {'dark'} and {f.split for f in found} == {'test'} and len(found) == 20

def test_an_empty_image_is_clear(tmp_path):
    images = {f'{i}': scene(i) for i in range(20)} | dict(black=np.zeros((180, 240, 3), np.uint8))
    assert [(f.kind, f.act) for f in find_poor_quality(*drawn(tmp_path/'a', images))] == [('dark', 'quarantine')]

def test_a_file_that_cannot_be_read_any_more_is_passed_over(tmp_path):
    "It was replaced after the scan; the others are examined as before"
    examined, _ = drawn(tmp_path/'a', {f'{i}': scene(i) for i in range(20)} | dict(night=scene(41)//8))
    (tmp_path/'a'/'3.jpg').write_bytes(b'no image')
    properties = properties_of(examined.table)
    assert properties.grey.isna().sum() == 1 and kinds_of(find_poor_quality(examined, properties)) == dict(night='dark')

def test_the_header_is_read_with_care(tmp_path):
    "A camera's name with control characters, a broken date, EXIF of garbage"
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = 'Acme', 'One\x1b[31m' + 'x'*500, '2024:99:99 00:00:00'
    files = {'a.jpg': ('a', saved(scene(1), exif=exif)), 'b.jpg': ('a', saved(scene(2), exif=b'Exif\0\0MM\0*\xff\xff\xff\xff'))}
    properties = written(tmp_path/'a', files)[1]
    camera = properties.camera[0]
    assert camera.startswith('Acme One') and camera.isprintable() and len(camera) < 80
    assert properties.date.isna().all() and pd.isna(properties.camera[1]) and properties.grey.notna().all()

n = 20
def framed(a):
    a = a.copy()
    a[:6], a[-6:], a[:, :6], a[:, -6:] = 0, 0, 0, 0
    return a

def camera(name):
    exif = Image.Exif()
    exif[271], exif[272] = 'Acme', name
    return exif

planted = { # What is found → function: (number of an image, pixels, is it of the first class?) → (name, bytes)
    'the file format': lambda i, a, first: (f'{i}.img', saved(a, format='PNG') if first else saved(a)),
    'the size in pixels': lambda i, a, first: (f'{i}.jpg', saved(a[:, :200] if first else a)),
    'the JPEG quality': lambda i, a, first: (f'{i}.jpg', saved(a, quality=60 + i % 5 if first else 85 + i % 5)),
    'the camera': lambda i, a, first: (f'{i}.jpg', saved(a, exif=camera('One' if first else 'Two'))),
    'the colour mode': lambda i, a, first: (f'{i}.jpg', as_bytes(Image.fromarray(a).convert('L' if first else 'RGB'))),
    'the file number': lambda i, a, first: (f'IMG_{i}.jpg', saved(a)),
    'the border': lambda i, a, first: (f'{i}.jpg', saved(framed(a) if first else a)),
    'the brightness': lambda i, a, first: (f'{i}.jpg', saved(a//2 if first else a)),
    'the sharpness': lambda i, a, first: (f'{i}.jpg', saved(cv2.GaussianBlur(a, (0, 0), 3) if first else a)),
}

def two_classes(root, plant):
    files = {}
    for i in range(2*n):
        number = i if plant is planted['the file number'] else i*17 % (2*n)
        name, data = plant(number, scene(i), i < n)
        files[name] = ('ants' if i < n else 'bees', data)
    return written(root, files)

@pytest.mark.parametrize('name', planted)
def test_a_planted_shortcut_is_found(tmp_path, name):
    "With both classes' images, and what differs; test images are not asked"
    examined, properties = two_classes(tmp_path/'a', planted[name])
    by_name = {f.facts['property']: f for f in find_shortcuts(examined, properties)}
    assert name in by_name and set(by_name) <= {name, 'the border', 'the brightness of the corners'}
    f, labels = by_name[name], dict(zip(examined.table.path, examined.table.label))
    assert f.kind == 'shortcut' and f.act is None and {labels[p] for p in f.images} == {'ants', 'bees'} and f.score >= .6
    assert '50 %' in f.evidence and f.facts['p'] < .01
    examined.table.loc[examined.table.label.eq('ants') & (examined.table.index >= 3), 'split'] = 'test'
    assert find_shortcuts(examined, properties) == [] # only three ants are left to train on

def test_no_shortcut_where_none_is_planted(tmp_path):
    assert find_shortcuts(*two_classes(tmp_path/'a', lambda i, a, first: (f'{i % n}-{first}.jpg', saved(a)))) == []

def test_a_burst_is_one_voice(tmp_path):
    "Twenty frames of one clip share its size: with their group kept whole there is no evidence about the class"
    examined, properties = two_classes(tmp_path/'a', planted['the size in pixels'])
    examined.table['group'] = ['clip']*n + [f'{i}' for i in range(n)]
    assert find_shortcuts(examined, properties) == []

def scanned(folder):
    from quickcls.data.items import scan_folder
    items = scan_folder(folder)
    return Examined(items, None, []), properties_of(items.table)

def test_the_drawn_parts_are_clean():
    assert [f.evidence for f in find_shortcuts(*scanned(repo/'datasets'/'parts'))] == []

@pytest.mark.parametrize('name', ['flowers', 'hymenoptera', 'trashnet', 'dogs_angry_happy', 'lego_bricks'])
def test_clean_photographs_have_no_shortcut(name):
    if not (photos.folder/name).is_dir(): pytest.skip(f'no {name}')
    examined, properties = scanned(photos.folder/name)
    assert [f.evidence for f in find_shortcuts(examined, properties)] == []
    assert len(find_poor_quality(examined, properties)) <= .02*len(properties)

@pytest.mark.slow
def test_grey_tells_the_castings():
    "What the card of this set knows: grey counts alone tell defective from sound ones. All castings are alike, so none is poor"
    if not (photos.folder/'casting').is_dir(): pytest.skip('no casting')
    examined, properties = scanned(photos.folder/'casting')
    found = find_shortcuts(examined, properties)
    assert [f.facts['property'] for f in found] == ['the distribution of grey'] and found[0].facts['right'] > .93
    assert find_poor_quality(examined, properties) == []
