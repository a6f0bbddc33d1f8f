"The split stays: an image's side depends on the contents of its class and the seed; the held-out share is the one asked for, in each class"
import hashlib, shutil
from pathlib import Path
import pandas as pd
import pytest
from tests.helpers import as_bytes, image, repo, write_folder
from quickcls.core import QuickclsError
from quickcls.data.items import Items, columns, scan_folder
from quickcls.data.split import draw_number, split_items

def splits(items, **kw):
    "Content → side"
    t = split_items(items, **kw).table
    return dict(zip(t.sha256, t.split))

def kept(before, after): return {k: after[k] for k in before} == before

def sha(x): return hashlib.sha256(str(x).encode()).hexdigest()

def items_of(rows):
    "Items without files, from (label, content, group or None) rows"
    return Items(
        'drawn',
        pd.DataFrame([(f'{label}/{i}', label, None, sha(x), 8, 8, g or sha(x)) for i, (label, x, g) in enumerate(rows)], columns=columns),
    )


@pytest.fixture
def folder(tmp_path): return write_folder(tmp_path/'pets', cat=30, dog=30)

def test_the_same_twice(folder):
    "Scanning again gives the same sides"
    assert splits(scan_folder(folder)) == splits(scan_folder(folder, workers=1))

def moved(before, after): return sum(after[h] != side for h, side in before.items() if h in after)

def test_adding_images_moves_few(folder):
    "Ten more cats move at most ten cats, and no dog; a new class moves nothing"
    before = split_items(scan_folder(folder)).table
    write_folder(folder, start=30, cat=10)
    write_folder(folder, start=100, emu=5)
    after = splits(scan_folder(folder))
    dogs, cats = (dict(zip(t.sha256, t.split)) for _, t in sorted(before.groupby('label'), reverse=True))
    assert len(after) == 75 and kept(dogs, after) and moved(cats, after) <= 10

def test_on_average_hardly_any_moves():
    "When 10 images are added to 100, about one of the hundred changes its side"
    more = [moved(splits(items_of(two(100)), seed=s), splits(items_of(two(110)), seed=s)) for s in range(20)]
    assert sum(more)/len(more)/2 < 2

def two(n): return [(c, f'{c}{i}', None) for c in 'ab' for i in range(n)]


def test_removing_images_moves_few(folder):
    "A third of the images goes: at most as many change their side as went"
    before = splits(scan_folder(folder))
    for p in sorted(folder.glob('*/*'))[::3]: p.unlink()
    after = splits(scan_folder(folder))
    assert len(after) == 40 and moved(before, after) <= 20

def test_the_lowest_numbers_are_held_out():
    "In each class the held-out images have lower numbers than the others: what moves is at the border"
    t = split_items(items_of(two(40))).table
    t['number'] = [draw_number(h, 42) for h in t.sha256]
    for _, rows in t.groupby('label'): assert rows.number[rows.split == 'valid'].max() < rows.number[rows.split == 'train'].min()

def test_renaming_moves_nothing(folder):
    "Names do not matter, nor does where the folder lies or what it is called"
    before = splits(scan_folder(folder))
    for i, p in enumerate(sorted(folder.glob('*/*'))): p.rename(p.with_name(f'renamed {i*7919%60}.jpeg'))
    (folder/'dog').rename(folder/'hound')
    assert splits(scan_folder(folder.rename(folder.with_name('moved')))) == before

def test_a_moved_image_moves_few_others(folder):
    "Ten images that are moved to another class: the others stay, but for some at the border"
    before = splits(scan_folder(folder))
    for p in sorted((folder/'cat').glob('*'))[:10]: p.rename(folder/'dog'/f'was cat {p.name}')
    assert moved(before, splits(scan_folder(folder))) <= 20

def test_twins_stay_together(folder):
    "Byte-identical images are on one side, under one label or two"
    for i, p in enumerate(sorted(folder.glob('*/*'))): shutil.copy(p, folder/('cat', 'dog')[i%2]/f'copy {i}.png')
    t = split_items(scan_folder(folder)).table
    assert len(t) == 120 and (t.groupby('sha256').split.nunique() == 1).all()

def test_another_seed_another_split(folder):
    "Seeds differ, and about as much as chance makes them"
    a, b = (splits(scan_folder(folder), seed=s) for s in (1, 2))
    assert 10 < sum(a[k] != b[k] for k in a) < 45

def test_the_same_items_with_another_seed(folder):
    "Splitting does not change what was scanned: the same items can be split again"
    items = scan_folder(folder)
    assert splits(items, seed=1) != splits(items, seed=2)

def test_numbers_are_for_ever():
    "The draw is part of the promise: these numbers must never change"
    assert [round(draw_number(g, s), 6) for g, s in (('a', 42), ('b', 42), ('a', 43))] == [.590138, .772025, .543556]

@pytest.mark.parametrize('pct', [.1, .25, .3, .5, .9])
@pytest.mark.parametrize('seed', [1, 42])
def test_the_share_is_the_one_asked_for(pct, seed):
    "Of 2 to 40 images, each class gives the number that is nearest to its share; never none and never all"
    rows = [(f'c{n}', f'{n}-{i}', None) for n in range(2, 41) for i in range(n)]
    t = split_items(items_of(rows), valid_pct=pct, seed=seed).table
    held = (t.split == 'valid').groupby(t.label).sum()
    for n in range(2, 41):
        wanted, h = min(max(n*pct, 1), n - 1), held[f'c{n}']
        assert abs(h - wanted) <= .5 + 1e-9 and 1 <= h < n, (n, h)

def test_half_an_image_goes_either_way():
    "3 of 10 at 25 % would be too many, 2 too few: over many classes the share is right"
    t = split_items(items_of([(f'c{c}', f'{c}-{i}', None) for c in range(200) for i in range(10)]), valid_pct=.25).table
    assert abs((t.split == 'valid').mean() - .25) < .02

def test_groups_of_several_classes_share_fairly():
    "Patients with images of three classes each: every class near its share, no patient on two sides"
    rows = [(c, f'{c}{p}-{i}', f'patient{p}') for p in range(40) for c in 'abc' for i in range(1 + (p*7 + ord(c))%4)]
    items = items_of(rows)
    t = split_items(items).table
    assert (t.groupby(items.table.group).split.nunique() == 1).all()
    assert ((t.split == 'valid').groupby(t.label).mean() - .3).abs().max() < .06

@pytest.mark.parametrize('pct', [0, 1, -1, 1.5, 30])
def test_a_share_is_between_0_and_1(pct):
    "30 is not 0.3"
    with pytest.raises(QuickclsError, match='between 0 and 1'): split_items(items_of([('a', 1, None), ('b', 2, None)]), valid_pct=pct)

@pytest.mark.parametrize('seed', range(10))
def test_classes_are_on_both_sides(seed):
    "Each class with two images or more is on both sides, however few they are; one with a single image is in training, and named"
    rows = [(f'c{n}', f'{n}-{i}', None) for n in range(1, 9) for i in range(n)]
    items = split_items(items_of(rows), seed=seed, valid_pct=.2)
    by = items.table.groupby('label').split.agg(set).to_dict()
    assert by.pop('c1') == {'train'} and all(s == {'train', 'valid'} for s in by.values())
    assert 'c1 has a single image' in items.notes[0]

def test_a_single_image_with_a_twin_elsewhere():
    "The only image of a class is in training, even where its twin stands in a class of two"
    rows = [('one', 'x', None), ('two', 'x', None), ('two', 'y', None)] + [('many', i, None) for i in range(9)]
    for seed in range(30):
        by = split_items(items_of(rows), seed=seed).table.groupby('label').split.agg(set)
        assert by['one'] == {'train'} and by['two'] == {'train', 'valid'}, seed

def test_only_single_images():
    "Where every class has one image, nothing can be held out, and that is said"
    with pytest.raises(QuickclsError, match='held out'): split_items(items_of([('a', 1, None), ('b', 2, None)]))

def crops(n, start=0, of='ab'):
    return [(label, f'{label}{i}-{j}', f'{label}/photo{i}') for label in of for i in range(start, start + n) for j in range(2)]


def test_groups_stay_together():
    "What shares a group is on one side, and twins tie groups together"
    rows = crops(20) + [('a', 'b3-0', 'a/photo0'), ('a', 'b3-0', 'a/photo1')]
    items = items_of(rows)
    groups = items.table.group.copy()
    t = split_items(items).table
    assert (t.groupby(groups).split.nunique() == 1).all() and (t.groupby('sha256').split.nunique() == 1).all()

def test_a_new_crop_moves_no_group():
    "One more crop of each photo: the crops that were there stay where they were"
    before = splits(items_of(crops(40)))
    after = splits(items_of(crops(40) + [(label, f'{label}{i}-new', f'{label}/photo{i}') for label in 'ab' for i in range(40)]))
    assert kept(before, after)

def test_a_pattern_reads_names(tmp_path):
    "The pattern's first group, or all of its match; names that do not match stand alone"
    for i in range(12):
        for c in ('cat', 'dog'):
            (tmp_path/c).mkdir(exist_ok=True)
            (tmp_path/c/(f'photo{i//2}-{i%2}.png' if i < 10 else f'other{i}.png')).write_bytes(as_bytes(image((c == 'cat', i)), 'PNG'))
    for pattern in (r'(photo\d+)-', r'photo\d+(?=-)'):
        t = scan_folder(tmp_path, group_pattern=pattern).table
        assert t.group.nunique() == 5 + 4 and set(t.label[t.group == 'photo0']) == {'cat', 'dog'} # across classes

def test_a_wrong_pattern_is_explained(folder):
    "A regular expression that is none: one line"
    with pytest.raises(QuickclsError, match='group_pattern'): scan_folder(folder, group_pattern='(photo')

def test_an_optional_group_in_a_pattern(folder):
    "Where the pattern's group takes no part in the match, names do not all fall into one group"
    assert scan_folder(folder, group_pattern=r'(photo)?\d+').table.group.nunique() > 2

def test_photos_of_lego_bricks(photos):
    "`photo11-0` belongs to `photo11`; with a pattern, too, each class is on both sides"
    t = split_items(scan_folder(photos('lego_bricks'), group_pattern=r'(photo\d+)-')).table
    photo = [Path(p).name.split('-')[0] for p in t.path]
    assert (scan_folder(photos('lego_bricks'), group_pattern=r'(photo\d+)-').table.group == photo).all()
    assert (t.groupby(photo).split.nunique() == 1).all() and (t.groupby('label').split.nunique() == 2).all()

def test_a_classifier_remembers_the_sides(drawn, tmp_path):
    "Images were added and taken away since the training: those that the classifier knows are on the side where they were then"
    clf, folder = drawn(tmp_path), shutil.copytree(repo/'datasets'/'parts', tmp_path/'set')
    for p in sorted(folder.glob('ok/*'))[::3]: p.unlink()
    write_folder(folder, start=500, ok=30)
    table = pd.read_csv(clf.path/'predictions.csv')
    then, fresh = dict(zip(table.sha256, table.split)), splits(scan_folder(folder))
    t = clf.to_learner(folder).quick.items.table
    now = dict(zip(t.sha256, t.split))
    assert moved(fresh, then) and not moved(now, then)
    assert set(t.split[~t.sha256.isin(then)]) == {'train', 'valid'}
