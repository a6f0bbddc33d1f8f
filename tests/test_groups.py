"Look-alikes: frames, bursts and crops are found, and stay on one side"
import json
from pathlib import Path
import numpy as np, pandas as pd, pytest
from PIL import Image, ImageEnhance
from quickcls.core import QuickclsError
from quickcls.data.items import Items, look_at, scan_folder
from quickcls.data.split import split_items
from quickcls.features.store import Store
from quickcls.groups.grouping import find_groups
from quickcls.groups.names import name_parts
from quickcls.groups.splitting import any_network, look, split_by_groups, with_groups
from tests.helpers import repo

def scene(seed, w=160, h=120):
    "A drawn scene with details"
    a = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(a).resize((w, h), Image.Resampling.BICUBIC)

def frames(seed, n):
    "A window that pans and zooms over a scene while it gets darker"
    im = scene(seed, 320, 240)
    for i in range(n):
        cut = im.crop((20 + 5*i, 10 + 3*i, 240 + 4*i, 175 + 2*i)).resize((160, 120))
        yield ImageEnhance.Brightness(cut).enhance(1.1 - .03*i)

def small(paths): # pixels stand in for embeddings
    return np.stack([np.asarray(Image.open(p).convert('RGB').resize((24, 18))).ravel() for p in paths]).astype(np.float32)

def write_clips(root, clips=3, n=8, single=30):
    "Two classes with single photos, and clips; the names say nothing"
    for c, label in enumerate('ab'):
        (root/label).mkdir(parents=True)
        for i in range(single): scene((c, i)).save(root/label/f'{hash((c, i)) % 10**9}x.png')
    for k in range(clips):
        for i, frame in enumerate(frames((7, k), n)): frame.save(root/'ab'[k % 2]/f'clip{k} {hash((k, i)) % 10**9}x.png')
    return root

def clip_of(path): return Path(path).name.split(' ')[0] if Path(path).name.startswith('clip') else None

def drawn(names, label='a'):
    "An items table of files that nobody opens"
    labels = label if isinstance(label, list) else [label]*len(names)
    return pd.DataFrame(dict(path=names, label=labels, split=None, sha256=[f'{i:064x}' for i in range(len(names))],
                             group=[f'{i:064x}' for i in range(len(names))]))

def sets(found): return sorted(sorted(rows) for rows in found.groups.values())

@pytest.fixture
def store(tmp_path): return Store(tmp_path/'store.sqlite')

@pytest.mark.parametrize('name, parts', [
    ('photo3-0.png', ('photo3', 0)), ('IMG_0012_3.jpg', ('IMG_0012', 3)), ('frame_000123.jpg', ('frame', 123)),
    ('video1_00012.png', ('video1', 12)), ('00013.jpg', ('', 13)), ('cat (2).jpg', ('cat', 2)), ('rose.jpg', ('rose', None)),
    ('IMG_1_jpg.rf.0123456789abcdef0123456789abcdef.jpg', ('IMG_1', None)), ('2024 05.d/x-1.png', ('x', 1))])
def test_a_name_is_a_stem_and_a_counter(name, parts): assert name_parts(name) == parts

def test_names_count_only_where_the_pictures_agree(store):
    "photo0-0, photo0-1: crops of one photo, or numbers that mean nothing"
    rng = np.random.default_rng(0)
    t = drawn([f'd/photo{i}-{k}.png' for i in range(20) for k in (0, 1)])
    same = np.repeat(rng.normal(size=(20, 40)), 2, 0) + rng.normal(size=(40, 40))*.9 # too far for near pictures alone
    assert sets(find_groups(Items('d', t), same, mode='names', store=store)) == [[2*i, 2*i + 1] for i in range(20)]
    assert not find_groups(Items('d', t), rng.normal(size=(40, 40)), store=store).links

@pytest.mark.parametrize('name', ['IMG_{:04}.jpg', '{:05}.jpg', 'cast_ok_0_{}.jpeg', 'exp{}_num_7.jpg'])
def test_running_numbers_of_a_class_are_no_group(name, store):
    t = drawn([f'{c}/{name.format(i)}' for c in 'ab' for i in range(40)], ['a']*40 + ['b']*40)
    assert not find_groups(Items('d', t), np.random.default_rng(1).normal(size=(80, 40)), store=store).links

def test_frames_that_follow_each_other_are_groups_up_to_the_cut(store):
    rng = np.random.default_rng(0)
    x = np.concatenate([np.repeat(rng.normal(size=(2, 60)), 10, 0) + rng.normal(size=(20, 60))*.35, rng.normal(size=(40, 60))])
    t = drawn([f'd/frame_{i:06}.jpg' for i in range(20)] + [f'd/{chr(97 + i//26)}{chr(97 + i % 26)}.jpg' for i in range(40)])
    assert sets(find_groups(Items('d', t), x, mode='names', store=store)) == [list(range(10)), list(range(10, 20))]

def shots(root, times, camera='Canon'):
    "Photos with EXIF, each another scene"
    root.mkdir(parents=True)
    for i, time in enumerate(times):
        exif = Image.Exif()
        exif[0x0110] = camera
        exif.get_ifd(0x8769)[0x9003] = time
        scene((3, i)).save(root/f'{chr(97 + i//26)}{chr(97 + i % 26)}.jpg', exif=exif)
    t = pd.DataFrame([look_at(p) for p in sorted(root.glob('*.jpg'))])
    return Items(str(root), t.assign(label='a', split=None, group=t.sha256))

def test_photos_within_seconds_are_a_burst(tmp_path, store):
    rng = np.random.default_rng(0)
    items = shots(tmp_path/'d', [f'2024:05:01 12:{m:02}:{s:02}' for m in range(12) for s in (10, 11, 13)])
    x = np.repeat(rng.normal(size=(12, 60)), 3, 0) + rng.normal(size=(36, 60))*.7
    assert sets(find_groups(items, x, mode='names', store=store)) == [[3*i, 3*i + 1, 3*i + 2] for i in range(12)]
    assert find_groups(items, x, mode='names', store=store).counts == {'time': 24}
    # a camera above a production line takes a photo a second too
    assert not find_groups(items, rng.normal(size=(36, 60)), mode='names', store=store).links

def test_damaged_or_absent_exif_is_no_time(tmp_path, store):
    items = shots(tmp_path/'d', ['0000:00:00 00:00:00', '', 'yesterday', '2024:13:41 99:00:00']*3)
    assert not find_groups(items, store=store).links

def test_clips_are_found_among_single_photos(tmp_path, store):
    items = scan_folder(write_clips(tmp_path/'d'))
    found = find_groups(items, small(items.table.path), store=store)
    of = [clip_of(p) for p in items.table.path]
    assert {tuple(sorted({of[i] for i in rows}, key=str)) for rows in found.groups.values()} == {('clip0',), ('clip1',), ('clip2',)}
    assert found.n == 24 and '24 images are in 3 look-alike groups' in found.note() and '--groups off' in found.note()
    items = split_items(with_groups(items, found))
    t = items.table.assign(clip=of)
    assert t.groupby('clip').split.nunique().max() == 1 and found.note() in items.notes
    assert find_groups(scan_folder(tmp_path/'d'), small(t.path), mode='off', store=store).note() == ''

def test_a_film_does_not_swallow_its_class(tmp_path, store):
    "A class that is one film still has two sides"
    root = write_clips(tmp_path/'d', clips=0)
    (root/'film').mkdir()
    for i, frame in enumerate(frames(5, 14)): frame.save(root/'film'/f'{hash((9, i)) % 10**9}x.png')
    items = scan_folder(root)
    found = find_groups(items, small(items.table.path), store=store)
    sides = split_items(with_groups(items, found)).table.groupby('label').split.nunique()
    assert found.n > 8 and (sides == 2).all()

def test_a_new_frame_moves_no_other_image(tmp_path, store):
    root = write_clips(tmp_path/'d', clips=2, n=5)
    def sides():
        items = scan_folder(root)
        t = split_items(with_groups(items, find_groups(items, small(items.table.path), store=store))).table
        return dict(zip(t.path, t.split))
    before = sides()
    list(frames((7, 0), 6))[5].save(root/'a'/'clip0 later.png')
    after = sides()
    moved = {clip_of(p) for p in before if before[p] != after[p]}
    assert len(after) == len(before) + 1 and moved <= {'clip0'}

def test_the_drawn_parts_are_single():
    "All are drawn alike, and none is another's frame: today's split stays"
    scanned = scan_folder(repo/'datasets'/'parts')
    assert look(scanned, any_network()).links == []
    assert split_by_groups(scanned, any_network()).table.equals(split_items(scanned).table)

def test_training_keeps_clips_on_one_side(tmp_path):
    from quickcls.train.pipeline import train
    root, how = write_clips(tmp_path/'d'), dict(arch='efficientnet_lite0@64', folds='0', quiet=True, offline=True, force=True)
    said = {}
    for groups in ('auto', 'off'):
        clf = train(root, out=tmp_path/groups, groups=groups, **how)
        t = pd.read_csv(tmp_path/groups/'predictions.csv')
        both = t.assign(clip=t.path.map(clip_of)).groupby('clip').split.nunique().max() > 1
        said[groups] = both, [n for n in json.loads((tmp_path/groups/'metrics.json').read_text())['notes'] if 'look-alike' in n]
        assert clf.info['data']['groups'] == groups
    assert not said['auto'][0] and len(said['auto'][1]) == 1 and '3 look-alike groups' in said['auto'][1][0]
    assert said['off'] == (True, [])

def test_look_alikes_across_given_sides_are_counted(tmp_path):
    "The folders decide, and the accuracy is given with and without"
    from quickcls.train.pipeline import train
    root = tmp_path/'d'
    for side, own in (('train', 0), ('test', 50)):
        for c, label in enumerate('ab'):
            (root/side/label).mkdir(parents=True)
            for i in range(15): scene((c, own + i)).save(root/side/label/f'{hash((c, own + i)) % 10**9}x.png')
    for i, frame in enumerate(frames(5, 6)): frame.save(root/('train', 'test')[i % 2]/'a'/f'clip0 {hash((9, i)) % 10**9}x.png')
    clf = train(root, out=tmp_path/'m', arch='efficientnet_lite0@64', folds='0', quiet=True, offline=True)
    notes = json.loads((tmp_path/'m'/'metrics.json').read_text())['notes']
    assert '3 held-out images have look-alikes among the training images: accuracy is given with and without them' in notes
    assert clf.info['metrics']['without_twins']['twins'] == 3 and clf.info['metrics']['without_twins']['n'] == 30
    assert 'or in a group with images of it' in str(clf.evaluate())

def test_a_learner_and_a_comparison_do_the_same(tmp_path):
    from quickcls.compare.grid import Trials
    from quickcls.model.learner import quick_learner
    root = write_clips(tmp_path/'d', clips=2)
    t = quick_learner(root, 'efficientnet_lite0@64', offline=True).quick.items.table
    assert t.assign(clip=t.path.map(clip_of)).groupby('clip').split.nunique().max() == 1
    scanned = scan_folder(root)
    grouped = with_groups(scanned, look(scanned, any_network()))
    one, two = Trials(scanned, valid_pct=.3), Trials(grouped, valid_pct=.3)
    assert one.base != two.base
    t = two.items(0).table
    assert t.assign(clip=t.path.map(clip_of)).groupby('clip').split.nunique().max() == 1

def test_an_unknown_word_is_told():
    from quickcls.train.options import Training
    with pytest.raises(QuickclsError, match='auto'): Training('x', groups='yes')

def test_findings_name_what_joined_a_group(tmp_path, store):
    from quickcls.findings.finding import Examined
    from quickcls.findings.look_alikes import find_look_alikes
    items = scan_folder(write_clips(tmp_path/'d', clips=2))
    x = small(items.table.path)
    found = find_look_alikes(Examined(items, x, [[0, x.shape[1]]]), find_groups(items, x, store=store))
    assert len(found) == 2 and {f.kind for f in found} == {'look-alike'} and all(f.act is None and len(f.images) == 8 for f in found)
    assert 'near pictures' in found[0].evidence and json.loads(found[0].line())['facts']['sources'] == ['near']

def test_tiles_photographed_again_belong_together(photos):
    "Magnetic tiles: exp1_num_20362 and exp2_num_20390 are one tile in another light; no others are joined"
    items = scan_folder(photos('magnetic_tile')/'images')
    found = look(items, any_network())
    numbers = [[name_parts(items.table.path[i])[1] for i in rows] for rows in found.groups.values()]
    assert len(numbers) >= 8 and sum(max(n) - min(n) < 150 for n in numbers) >= .8*len(numbers)
