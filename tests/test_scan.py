"What a folder of images becomes: which load, which are skipped and why, and which folders teach nothing"
import io, os
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from tests.helpers import as_bytes, halves, odd_images, image, with_orientation, write_folder
from quickcls.core import QuickclsError
from quickcls.data.items import describe, scan_folder
from quickcls.data.split import split_items
from quickcls.data.formats import NotAnImage
from quickcls.data.images import load_image

def ends(im):
    a = np.asarray(im).astype(int)
    h = len(a)
    return a[h // 8].mean(0), a[-h // 8].mean(0)  # mean colour near the top and near the bottom


def near(got, want, by=12): return np.abs(np.asarray(got) - want).max() <= by

red, blue, white, black = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)

# the whole folder

def test_every_good_image_is_found(messy_folder):
    "Names and extensions do not matter, nor do scripts, spaces and quotes; the label is the top folder"
    t = scan_folder(messy_folder.root).table
    assert dict(zip(t.path, t.label)) == messy_folder.good

def test_labels_stay_text(messy_folder):
    "A class called 42 is the text '42'"
    assert scan_folder(messy_folder.root).vocab == sorted({'дуб', '寿司', '🐻', '42', 'two words', '<b>x "y"'})

def test_every_bad_file_has_its_reason(messy_folder):
    "What is no image is skipped by name with a reason; leavings of systems are passed over in silence"
    skipped = scan_folder(messy_folder.root).skipped
    assert {Path(s.path).name: s.reason for s in skipped} == messy_folder.bad
    assert len(skipped) == len(messy_folder.bad)

def test_every_good_image_loads(messy_folder):
    "All that a scan finds becomes an upright RGB square, except for images that are damaged behind the header"
    for path in messy_folder.good:
        if Path(path).name in messy_folder.broken:
            with pytest.raises(NotAnImage, match='damaged'): load_image(path, 32)
        else:
            im = load_image(path, 32)
            assert (im.mode, im.size) == ('RGB', (32, 32)), path

def test_what_was_found_can_be_said(messy_folder):
    "The text names the counts and the first reasons; in a notebook class names are escaped"
    items = scan_folder(messy_folder.root)
    text = describe(items)
    assert f'{len(messy_folder.good)} images of 6 classes' in text and 'skipped 10 files' in text and 'an HTML page' in text
    assert '<b>x' not in items._repr_html_()

def test_a_symlink_to_itself_is_skipped(tmp_path):
    "A link that leads nowhere but to itself is a bad file, not the end of the scan"
    write_folder(tmp_path, cat=2, dog=2)
    (tmp_path/'cat'/'self').symlink_to(tmp_path/'cat'/'self')
    items = scan_folder(tmp_path)
    assert len(items) == 4 and [Path(s.path).name for s in items.skipped] == ['self']

@pytest.mark.skipif(os.name == 'nt', reason='names are Unicode there')
def test_names_that_are_no_unicode(tmp_path):
    "A name in an old code page, as zip files bring them, is found, and can be printed and written as JSON"
    write_folder(tmp_path, cat=2, dog=2)
    for name, data in ((b'caf\xe9.jpg', as_bytes(image(1))), (b'no\xe9l.jpg', b'')):
        with open(os.path.join(os.fsencode(tmp_path), b'cat', name), 'wb') as f: f.write(data)
    items = scan_folder(tmp_path)
    assert len(items) == 5
    load_image(next(p for p in items.table.path if 'caf' in p), 16)
    assert 'empty file' in describe(items).encode().decode()

def test_a_linked_class_folder_is_followed(tmp_path):
    "A class folder may be a link to elsewhere"
    write_folder(tmp_path/'far', cat=2)
    write_folder(tmp_path/'set', dog=2)
    (tmp_path/'set'/'cat').symlink_to(tmp_path/'far'/'cat', target_is_directory=True)
    assert scan_folder(tmp_path/'set').table.label.value_counts().to_dict() == dict(cat=2, dog=2)

def test_twins_are_named(tmp_path):
    "Byte-identical images are counted, and those under two labels called wrong"
    write_folder(tmp_path, cat=3, dog=3)
    (tmp_path/'cat'/'copy.png').write_bytes((tmp_path/'cat'/'000.png').read_bytes())
    (tmp_path/'dog'/'copy.png').write_bytes((tmp_path/'cat'/'001.png').read_bytes())
    notes = scan_folder(tmp_path).notes
    assert notes[0].startswith('2 images') and notes[1].startswith('1 image') and 'label' in notes[1]

# one image

@pytest.mark.parametrize('name, top, bottom', [
    ('alpha.png', red, white), ('grey-alpha.png', black, white), ('palette.png', red, white), ('grey.png', white, black),
    ('ink.jpg', red, blue), ('moving.gif', red, red), ('web.webp', red, blue), ('dot.png', red, red)])
def test_every_mode_becomes_rgb(name, top, bottom):
    "Transparency on white, ink to light, the first frame of an animation"
    a, b = ends(load_image(odd_images()[name], 40))
    assert near(a, top, 30) and near(b, bottom, 30), (a, b)

def test_sixteen_bits_keep_their_steps():
    "A 16-bit ramp stays a ramp: not cut off at 255"
    a = np.asarray(load_image(odd_images()['deep.png'], 40))[:, 0, 0].astype(int)
    assert (np.diff(a) > 0).all() and a[0] < 10 and a[-1] > 245

@pytest.mark.parametrize('n, where', [(1, (0, None)), (3, (-1, None)), (6, (None, -1)), (8, (None, 0))])
def test_orientation_is_applied(n, where):
    "A photo is turned as EXIF says; the red half of the file ends at the top, bottom, right or left"
    a = np.asarray(load_image(as_bytes(halves('red', 'blue'), exif=with_orientation(n), quality=95), 40)).astype(int)
    row, col = where
    assert near(a[20 if row is None else row, 20 if col is None else col], red, 40)

@pytest.mark.parametrize('resize, corner', [('squish', white), ('crop', white), ('pad', (128, 128, 128))])
def test_very_wide_images(resize, corner):
    "1500 × 20 pixels become a square by each of the three methods"
    im = load_image(Image.new('RGB', (1500, 20), 'white'), 64, resize)
    assert im.size == (64, 64) and im.getpixel((0, 0)) == corner and im.getpixel((32, 32)) == white

def test_a_line_is_not_lost_by_padding():
    "However wide an image is, padding leaves one row of it"
    assert np.asarray(load_image(Image.new('RGB', (3000, 20), 'white'), 64, 'pad')).max() == 255

def test_all_sources_give_the_same(tmp_path):
    "A path, its text, bytes, an open file and an array are one image"
    im = image(5)
    (tmp_path/'a.png').write_bytes(as_bytes(im, 'PNG'))
    with open(tmp_path/'a.png', 'rb') as f:
        got = [np.asarray(load_image(s, 32)) for s in (tmp_path/'a.png', str(tmp_path/'a.png'), as_bytes(im, 'PNG'), f, np.asarray(im), im)]
    assert all((g == got[0]).all() for g in got)

@pytest.mark.parametrize('array', [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)])
def test_what_is_no_image_array(array):
    "Floats and odd shapes are refused with what was expected"
    with pytest.raises(QuickclsError, match='expected uint8|none of the formats'): load_image(array) # one row may be the bytes of a file

def test_a_callers_image_is_left_alone():
    "A PIL image that is passed in is the caller's: not resized, not turned"
    im = Image.open(io.BytesIO(odd_images()['turned.jpg']))
    a, b = load_image(im, 16), load_image(im, 16)
    assert im.size == (40, 40) and (np.asarray(a) == np.asarray(b)).all()

# folders that teach nothing

@pytest.mark.parametrize(
    'make, said',
    [
        (lambda d: d / 'nowhere', 'nowhere'),
        (lambda d: (d / 'f.txt').write_text('x') and d / 'f.txt', 'is a text file'),
        (lambda d: d, 'No files'),
        (lambda d: write_folder(d, cat=3), "'cat'.*3 images"),
        (lambda d: write_folder(d / 'only', cat=3).parent, "'cat'"),
        (lambda d: write_folder(d, cat=0, dog=0), 'No files'),
        (
            lambda d: [(d / c).mkdir() or (d / c / 'a.jpg').write_bytes(b'') for c in ('cat', 'dog')] and d,
            '2 files.*a.jpg.*empty',
        ),
        (lambda d: [(d / n).write_bytes(as_bytes(image(1))) for n in ('a.jpg', 'b.jpg')] and d, 'No labelled images'),
        (lambda d: write_folder(d / 'train', cat=2) and write_folder(d / 'test', cat=2).parent, "'cat'"),
    ],
)
def test_folders_that_teach_nothing(tmp_path, make, said):
    "One line: what was found, what was expected"
    with pytest.raises(QuickclsError, match=said) as e: scan_folder(make(tmp_path))
    assert 'Expected' in str(e.value) and '\n' not in str(e.value)

# layouts

@pytest.mark.parametrize(
    'names, sides',
    [
        (('train', 'test'), ('train', 'test')),
        (('Training', 'Validation'), ('train', 'valid')),
        (('train', 'val', 'test'), ('train', 'valid', 'test')),
    ],
)
def test_a_division_is_kept(tmp_path, names, sides):
    "Folders called train, val and test are sides, and a split leaves them alone"
    for i, n in enumerate(names): write_folder(tmp_path/n, start=10*i, cat=3, dog=2)
    t = split_items(scan_folder(tmp_path)).table
    assert t.groupby('split').size().to_dict() == {s: 5 for s in sides} and set(t.label) == {'cat', 'dog'}

def test_a_class_called_train(tmp_path):
    "A toy train among other toys is a class"
    assert scan_folder(write_folder(tmp_path, train=2, car=2)).vocab == ['car', 'train']

def test_wrappers_are_passed(tmp_path):
    "A zip often holds a folder in a folder; the classes are below"
    write_folder(tmp_path/'a'/'b', cat=2, dog=2)
    (tmp_path/'a'/'b'/'cat'/'deeper').mkdir()
    (tmp_path/'a'/'b'/'cat'/'000.png').rename(tmp_path/'a'/'b'/'cat'/'deeper'/'000.png')
    items = scan_folder(tmp_path)
    assert items.vocab == ['cat', 'dog'] and len(items) == 4

def test_wrapped_division(tmp_path):
    "A wrapper around train and test"
    for i, n in enumerate(('train', 'test')): write_folder(tmp_path/'set'/n, start=10*i, cat=2, dog=2)
    assert set(scan_folder(tmp_path).table.split) == {'train', 'test'}

def test_a_readme_beside_the_wrapper(tmp_path):
    "A README beside a single wrapper folder does not make the wrapper a class"
    write_folder(tmp_path/'images', cat=2, dog=2)
    (tmp_path/'README.md').write_text('two classes')
    assert scan_folder(tmp_path).vocab == ['cat', 'dog']

def test_held_out_class_that_was_never_taught(tmp_path):
    "A class only in test cannot be right: skipped by name"
    write_folder(tmp_path / 'train', cat=2, dog=2)
    write_folder(tmp_path / 'test', start=10, cat=1, dog=1, emu=1)
    items = split_items(scan_folder(tmp_path))
    assert items.vocab == ['cat', 'dog'] and "'emu'" in items.skipped[0].reason

def test_the_present_folder_has_a_name(tmp_path, monkeypatch):
    "`.` is named by the folder that it is"
    monkeypatch.chdir(write_folder(tmp_path, cat=2, dog=2))
    assert Path(scan_folder('.').folder).name == tmp_path.name

# memory

_peak = """
import resource, sys
from quickcls.data.images import load_image
from tests.helpers import as_bytes, image
load_image(as_bytes(image(0)), 224)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for p in sys.argv[1:]: load_image(p, 224)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)/1024)
"""

def test_large_photos_need_little_memory(tmp_path, python):
    "A photo of 37 megapixels (111 MB of pixels) is decoded small"
    image(3).resize((7400, 5000)).save(tmp_path/'large.jpg', quality=85)
    assert float(python(_peak, tmp_path/'large.jpg')) < 40 # MB

def test_large_camera_photos_need_little_memory(photos, python):
    "Photos of cameras: 8 to 37 megapixels"
    assert float(python(_peak, *sorted(photos('bears_large').glob('*/*')))) < 60 # MB

# real photographs

@pytest.mark.parametrize(
    'name, n, classes, skipped',
    [
        ('bears_web', 59, 3, 6),
        ('bears_large', 3, 3, 0),
        ('sushi_tiny', 36, 13, 0),
        ('lego_bricks', 240, 8, 0),
        ('magnetic_tile/images', 90, 6, 0),
    ],
)
def test_real_folders(photos, name, n, classes, skipped):
    "As many images, classes and skipped files as the folders have"
    items = scan_folder(photos(name))
    assert (len(items), len(items.vocab), len(items.skipped)) == (n, classes, skipped)

def test_bears_from_the_web(photos):
    "Web searches save HTML and text as .jpg, and good images under bad names"
    items = scan_folder(photos('bears_web'))
    assert sorted(s.reason for s in items.skipped) == ['an HTML page, not an image']*5 + ['text, not an image']
    for p in items.table.path: load_image(p, 16)

def test_the_leak_of_castings(photos):
    "64 test images are in train too, byte by byte"
    items = scan_folder(photos('casting'))
    assert len(items) == 7348 and any(n.startswith('64 held-out images') for n in items.notes)

def test_one_image_of_a_sushi(photos):
    "Classes of one image stay in training and are named"
    items = split_items(scan_folder(photos('sushi_tiny')))
    one = items.table.groupby('label').filter(lambda g: len(g) == 1)
    assert set(one.split) == {'train'} and len(one) == 4 and 'single image' in ' '.join(items.notes)
