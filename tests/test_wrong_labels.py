"Wrong labels, faults of classes, outliers and placeholders: on drawn parts, and on photographs where there are any"
import shutil
from dataclasses import replace
import numpy as np, pytest
from PIL import Image, ImageDraw
from quickcls.all import scan_folder
from quickcls.findings.classes import find_class_faults, find_outliers
from quickcls.findings.finding import Examined
from quickcls.findings.labels import find_wrong_labels
from tests.helpers import repo
from tests.photos import folder as photos

parts = repo/'datasets'/'parts'

def examine(folder):
    "The images of a folder and their embeddings"
    from quickcls.backbones.registry import parse_views
    from quickcls.features.embed import Embeddings, late_columns
    from quickcls.features.extractors import get_extractors
    items = scan_folder(folder)
    e = Embeddings(get_extractors(parse_views('efficientnet_lite0'), items.table.path, offline=True))
    e.embed(items)
    return Examined(items, e.read(items.table), late_columns(e.graphs, 'all'))

def renamed(data, rows, labels, split=None):
    "The same images; some under other labels"
    table = data.table.copy()
    table.loc[rows, 'label'] = labels
    if split is not None: table['split'] = split
    return Examined(replace(data.items, table=table), data.x, data.late)

def placeholder(path):
    "What a server sends where a photo is gone"
    im = Image.new('RGB', (300, 300), 'white')
    ImageDraw.Draw(im).text((90, 140), 'image not found', fill=(60, 60, 60))
    im.save(path)

@pytest.fixture(scope='module')
def drawn_parts(): return examine(parts)

@pytest.fixture(scope='module')
def with_placeholder(tmp_path_factory):
    "Drawn parts, and a placeholder among the sound ones"
    root = tmp_path_factory.mktemp('p')/'parts'
    for label in ('defect', 'ok'): shutil.copytree(parts/label, root/label)
    placeholder(root/'ok'/'999.png')
    return examine(root)

def flips(data, n, seed=3):
    "(rows, their wrong labels)"
    rows = np.random.default_rng(seed).permutation(len(data.table))[:n]
    return rows, np.where(data.table.label.iloc[rows] == 'ok', 'defect', 'ok')

def test_clean_parts_have_no_faults(drawn_parts):
    assert find_wrong_labels(drawn_parts) == find_class_faults(drawn_parts) == find_outliers(drawn_parts) == []

@pytest.mark.parametrize('n', [12, 24])
def test_flipped_labels_are_found_and_named(drawn_parts, n):
    "More than half of 5 % and 10 % of labels, and hardly others; with the class they had, the surest first, and words that say why"
    rows, labels = flips(drawn_parts, n)
    true = dict(zip(drawn_parts.table.path, drawn_parts.table.label))
    flipped = set(drawn_parts.table.path.iloc[rows])
    found = find_wrong_labels(renamed(drawn_parts, rows, labels))
    right = [f for f in found if f.images[0] in flipped]
    assert len(right) >= .5*n and len(found) - len(right) <= 1
    assert all(f.kind == 'wrong-label' and f.act == 'relabel' and f.to == true[f.images[0]] for f in right)
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert all(f.to in f.evidence and 'nearest images' in f.evidence and '%' in f.evidence for f in found)
    assert all(f.line() for f in found) # JSON takes every number

def test_test_images_stand_apart(drawn_parts):
    rows, labels = flips(drawn_parts, 24)
    split = np.where(np.arange(len(drawn_parts.table)) % 3 == 0, 'test', 'train')
    held = dict(zip(drawn_parts.table.path, split))
    found = find_wrong_labels(renamed(drawn_parts, rows, labels, split))
    assert {f.split for f in found} == {'train', 'test'} and all(f.split == held[f.images[0]] for f in found)

def test_a_copy_does_not_vouch_for_a_wrong_label(drawn_parts):
    "A wrong label that was copied with its image is found all the same, since a group is judged by others"
    rows = np.flatnonzero(drawn_parts.table.label == 'ok')[:6]
    data = renamed(drawn_parts, rows, 'defect')
    n = len(data.table)
    again = np.concatenate([np.arange(n), rows, rows])
    twice = Examined(data.items, data.x[again], data.late)
    twice.items.table = data.table.iloc[again].reset_index(drop=True)
    twice.items.table['path'] = [f'{i}/{p}' for i, p in enumerate(twice.items.table.path)]
    found = {int(f.images[0].split('/')[0]) for f in find_wrong_labels(twice)}
    assert len(found & {*rows, *range(n, len(again))}) >= 12

def test_a_class_of_three_is_told(drawn_parts):
    "It is not judged for wrong labels: three images tell nothing"
    few = renamed(drawn_parts, [5, 9, 130], 'rare')
    found = find_class_faults(few)
    assert [(f.kind, f.facts['label'], len(f.images)) for f in found] == [('small-class', 'rare', 3)]
    assert 'rare has 3 images' in found[0].evidence
    assert not any('rare' in (f.to, f.facts['label']) for f in find_wrong_labels(few))

def test_few_images_are_looked_at_closer(drawn_parts, monkeypatch):
    "By a second network, in the order of the table; not where they are too many"
    from quickcls.doctor import examine
    table = drawn_parts.table.iloc[::12].reset_index(drop=True)
    some = Examined(replace(drawn_parts.items, table=table), drawn_parts.x[::12], drawn_parts.late)
    asked = []
    def embedded(items, *, arch, **how):
        asked.append(arch)
        return Examined(items, np.arange(len(items), dtype=np.float32)[:, None], [])
    monkeypatch.setattr(examine, 'examine_items', embedded)
    small = examine.look_closer(some)
    assert asked == ['efficientnet_lite2'] and (small[:, :-1] == some.x).all() and list(small[:, -1]) == list(range(len(some.table)))
    some.items.table[['width', 'height']] = 640, 480
    assert examine.look_closer(some).shape == (len(some.table), 1) and asked[1] == 'efficientnet_lite0@320+efficientnet_lite2'
    monkeypatch.setattr(examine, 'most_looked_at', len(some.table) - 1)
    assert examine.look_closer(some) is None and len(asked) == 2

@pytest.mark.slow
def test_flips_among_ants_and_bees_are_found():
    "Half of 5 %, nearly all of those that are named; no other draw than the benchmark's first, to be quick"
    from quickcls.doctor.examine import look_closer
    from tests.benchmarks.wrong_labels import flipped
    data = photo_set('hymenoptera')
    closer, (labels, wrong) = look_closer(data, offline=True), flipped(data.table.label.to_numpy(), .05, 0)
    flips = set(data.table.path[wrong])
    found = [f.images[0] in flips for f in find_wrong_labels(renamed(data, slice(None), labels), closer)]
    assert sum(found) >= .5*wrong.sum() and sum(found) >= .85*len(found)

def test_one_class_alone_has_no_wrong_labels(drawn_parts):
    assert find_wrong_labels(renamed(drawn_parts, slice(None), 'part')) == []

@pytest.fixture(scope='module')
def two_kinds(tmp_path_factory):
    "A class of 30 parts and 20 plain stripes, beside a class of parts"
    root = tmp_path_factory.mktemp('k')
    for label, some in (('mixed', slice(30)), ('ok', slice(30, 70))):
        (root/label).mkdir()
        for p in sorted((parts/'ok').glob('*.jpg'))[some]: shutil.copy(p, root/label)
    for i in range(20):
        rng = np.random.default_rng(i)
        stripes = np.repeat(rng.integers(0, 256, (12, 1, 3), dtype=np.uint8), 300, 1)
        Image.fromarray(stripes).resize((300, 300)).rotate(i, fillcolor='grey').save(root/'mixed'/f's{i}.png')
    return examine(root)

def test_a_class_of_two_kinds_is_told(two_kinds):
    "With images of each"
    found = [f for f in find_class_faults(two_kinds) if f.kind == 'two-kinds']
    assert [f.facts['label'] for f in found] == ['mixed']
    small, large = found[0].facts['kinds']
    assert (small['images'], large['images']) == (20, 30)
    assert all('/s' in p for p in small['examples']) and not any('/s' in p for p in large['examples'])

def test_a_drawn_placeholder_is_found(with_placeholder):
    found = find_outliers(with_placeholder)
    assert [f.kind for f in found] == ['placeholder'] and found[0].images[0].endswith('999.png')
    assert found[0].act == 'quarantine' and 'one colour' in found[0].evidence

def photo_set(name):
    if not (photos/name).is_dir(): pytest.skip(f'no photographs of {name}')
    return examine(photos/name)

def test_the_placeholder_of_hymenoptera_is_found():
    found = find_outliers(photo_set('hymenoptera'))
    assert [f.images[0].rsplit('/', 1)[1] for f in found if f.kind == 'placeholder'] == ['imageNotFound.gif']

def test_flowers_are_mostly_one_kind_each():
    "And a few photos at most are doubted"
    data = photo_set('flowers')
    assert len([f for f in find_class_faults(data) if f.kind == 'two-kinds']) <= 1 and len(find_outliers(data)) <= 2
    assert len(find_wrong_labels(data)) <= 4
