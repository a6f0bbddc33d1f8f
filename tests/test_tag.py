"Several kinds in one image: found where they are, nothing where nothing is, in the pixels of the upright image"
import json
import numpy as np, pytest
from PIL import Image
from quickcls.all import train
from quickcls.explain.regions import Tags, tag, windows
from tests.helpers import as_bytes, bad_files, repo, some_parts, with_orientation

@pytest.fixture(scope='module')
def things(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('things'))


@pytest.fixture(scope='module')
def both():
    "A canvas with one part of each kind, and where they are"
    im, truth = Image.new('RGB', (640, 400), (96, 98, 92)), dict(ok=(50, 150, 250, 350), defect=(390, 60, 590, 260))
    for label, box in truth.items():
        im.paste(Image.open(sorted((repo / 'datasets' / 'parts' / label).glob('*.jpg'))[0]).convert('RGB').resize((200, 200)), box[:2])
    return im, truth

def overlap(a, b):
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0]))*max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared/((a[2] - a[0])*(a[3] - a[1]) + (b[2] - b[0])*(b[3] - b[1]) - shared)

def check(found, truth):
    assert {f['label'] for f in found} == set(truth), found
    for label, box in truth.items(): assert max(overlap(f['box'], box) for f in found if f['label'] == label) >= .3, found

def test_two_kinds_side_by_side_are_found_where_they_are(things, both): check(things.tag(both[0]).found, both[1])

def test_boxes_are_in_pixels_of_the_upright_image(things, both):
    "A camera held sideways, and a photo that is worked on at a fraction of its size"
    im, truth = both
    w, h = im.size
    turned = as_bytes(im.rotate(90, expand=True), quality=95, exif=with_orientation(6))
    tags = things.tag(turned)
    assert (tags.width, tags.height) == (w, h)
    check(tags.found, truth)
    big = things.tag(im.resize((4*w, 4*h)))
    check(big.found, {k: [4*v for v in box] for k, box in truth.items()})
    assert max(big.draw().size) == 1024

@pytest.mark.parametrize('ground', ['plain', 'noise', 'one pixel', 'a line'])
def test_nothing_is_found_where_nothing_is(things, ground):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    im = dict(
        plain=Image.new('RGB', (400, 300), (96, 98, 92)),
        noise=noise,
        **{'one pixel': Image.new('RGB', (1, 1)), 'a line': Image.new('RGB', (3000, 2), 'white')},
    )[ground]
    assert things.tag(im).found == []

def test_windows_are_few_and_inside():
    for w, h in ((640, 480), (480, 640), (1024, 1024), (3000, 2), (1, 1), (1024, 300)):
        b = windows(w, h)
        assert len(b) <= 300 and (b[:, :2] >= 0).all() and (b[:, 2:] <= (w, h)).all() and (b[:, 2:] > b[:, :2]).all()

def test_json_annotated_image_and_exit_code(things, both, tmp_path, capsys):
    photo, bad = tmp_path/'photo.jpg', tmp_path/'bad.jpg'
    both[0].save(photo, quality=95)
    bad.write_bytes(bad_files()['page.jpg'][0])
    assert tag(str(things.path), str(photo), out=str(tmp_path/'seen.png'), json=True) == 0
    d = json.loads(capsys.readouterr().out)
    assert (
        set(d) == {'path', 'found', 'error'}
        and d['path'] == str(photo)
        and all(set(f) == {'label', 'probability', 'box'} and all(type(v) is int for v in f['box']) for f in d['found'])
    )
    check(d['found'], both[1])
    with Image.open(tmp_path/'seen.png') as im: assert im.size == (640, 400)
    assert tag(str(things.path), str(bad), str(photo), out=str(tmp_path/'many')) == 1 # a script has to notice, and the run goes on
    out = capsys.readouterr().out
    assert 'an HTML page' in out and [p.name for p in (tmp_path/'many').iterdir()] == ['photo.png']

def test_an_image_is_never_replaced_by_its_boxes(things, both, tmp_path):
    both[0].save(tmp_path/'photo.png')
    with pytest.raises(Exception, match='photo.png'): tag(str(things.path), str(tmp_path/'photo.png'), out=str(tmp_path/'photo.png'))
    with pytest.raises(Exception, match='.png'): tag(str(things.path), str(tmp_path/'photo.png'), out=str(tmp_path/'photo.jpg'))

def test_names_of_any_script_and_boxes_at_the_border_are_drawn():
    found = [
        dict(label=n, probability=0.9, box=b)
        for n, b in (('图', [0, 0, 50, 40]), ('дуб ' * 20, [40, 0, 50, 40]), ('<b>\n', [49, 39, 50, 40]), ('x', [0, 0, 0, 0]))
    ]
    for w, h in ((50, 40), (1, 1), (3000, 2)): assert Tags('p', found, width=w, height=h, photo=Image.new('RGB', (w, h)))._repr_png_()

@pytest.mark.parametrize('name', list(bad_files()))
def test_a_bad_image_is_an_answer_with_an_error(things, name):
    data, reason = bad_files()[name]
    tags = things.tag(data)
    assert tags.error == reason and tags.to_dict()['found'] == []

@pytest.mark.slow
def test_classifiers_of_other_kinds_tag_too(things, both, tmp_path, capsys):
    "Without statistics of known images (said once), with padding, with two views"
    folder = some_parts(tmp_path/'parts', slice(40))
    for options in (dict(folds='0', resize='pad'), dict(arch='efficientnet_lite0+efficientnet_lite0@128', folds='2')):
        clf = train(folder, out=tmp_path/'other', force=True, **dict(arch='efficientnet_lite0', quiet=True) | options)
        both[0].save(tmp_path/'photo.png')
        tag(str(clf.path), str(tmp_path/'photo.png'), str(tmp_path/'photo.png'))
        out = capsys.readouterr().out
        assert out.count('no OOD score') == (clf.open_set is None)
        assert 'photo.png' in out

def test_tagging_imports_no_torch(things, both, tmp_path, python):
    both[0].save(tmp_path/'photo.png')
    out = python(
        'import sys; from quickcls.explain.regions import tag; tag(sys.argv[1], sys.argv[2], '
        'out=sys.argv[3]); print([m for m in ("torch", "fastai", "matplotlib", "pandas") if m in '
        'sys.modules])',
        things.path,
        tmp_path / 'photo.png',
        tmp_path / 'seen.png',
    )
    assert out.strip().endswith('[]')

def test_flowers_that_were_held_out_are_found_in_collages(photos, tmp_path):
    "A weaker bound than the benchmark's, on fewer images"
    from quickcls.data.items import scan_folder
    from quickcls.data.split import split_items
    from tests.benchmarks.collages import collages
    clf = train(photos('flowers'), out=tmp_path/'m', arch='efficientnet_lite0', quiet=True)
    t = split_items(scan_folder(photos('flowers'))).table
    held = list(zip(t.path[t.split == 'valid'], t.label[t.split == 'valid']))
    found = kinds = false = 0
    for im, truth in collages(held, sorted(photos('trashnet').rglob('*.jpg')), 8, 5):
        got, truth = {f['label'] for f in clf.tag(im).found}, {l for l, _ in truth}
        found, kinds, false = found + len(got & truth), kinds + len(truth), false + len(got - truth)
    assert found >= .55*kinds and false <= .4*8
