"Class names in one Unicode form wherever they enter; groups on paths, across classes and across given splits"
import json, unicodedata
from pathlib import Path
import numpy as np, pandas as pd
import pytest
from tests.helpers import as_bytes, image, write_folder
from quickcls.core import QuickclsError
from quickcls.data.corrections import Corrections, checked_class_name, take_corrections, with_corrections
from quickcls.data.items import describe, scan_folder
from quickcls.data.split import split_items
from quickcls.evaluate.predictions import Evaluation, prediction_table

composed, apart = 'café', unicodedata.normalize('NFD', 'café')

def put(path, seed):
    "An image of its own at a path"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_bytes(image(seed, 24, 24), 'PNG'))

# names

def test_two_forms_are_one_class(tmp_path):
    "A zip from a Mac beside a folder from elsewhere; the paths stay as they are"
    for i in range(3):
        put(tmp_path/composed/f'{i}.png', i)
        put(tmp_path/apart/f'{i}.png', 10 + i)
        put(tmp_path/'dog'/f'{i}.png', 20 + i)
    items = scan_folder(tmp_path)
    assert items.vocab == [composed, 'dog'] and all(Path(p).is_file() for p in items.table.path)
    assert 'two Unicode forms' in describe(items)

def test_forms_across_splits(tmp_path):
    "train/café and test/café match, whatever their form"
    for i, (split, name) in enumerate([('train', composed), ('test', apart), ('train', 'dog'), ('test', 'dog')]):
        for k in range(2): put(tmp_path/split/name/f'{k}.png', 10*i + k)
    t = scan_folder(tmp_path).table
    assert set(t.label[t.split == 'test']) == {composed, 'dog'}

def test_corrections_in_either_form(tmp_path):
    "Typed, and in an older list"
    assert checked_class_name(apart) == composed
    c = Corrections(tmp_path/'corrections')
    row = c.add(as_bytes(image(1)), apart)
    assert row['label'] == composed and c.path(row).parent.name == composed
    old = as_bytes(image(2))
    from hashlib import sha256
    h = sha256(old).hexdigest()
    put(c.folder/apart/'x.png', 3)
    (c.folder/apart/f'{h[:24]}.jpg').write_bytes(old)
    line = dict(time='2020', file=f'{apart}/{h[:24]}.jpg', sha256=h, label=apart)
    with open(c.folder/'corrections.jsonl', 'a', encoding='utf8') as f: f.write(json.dumps(line, ensure_ascii=False) + '\n')
    taken = take_corrections(c.folder)
    assert taken.vocab == [composed] and len(taken) == 2 and not taken.skipped

def test_a_class_is_found_in_either_form():
    "As it is named for a heat map"
    from types import SimpleNamespace
    from quickcls.explain.heatmap import class_number
    for c in (composed, apart):
        assert class_number(SimpleNamespace(vocab=[c, 'dog']), apart) == class_number(SimpleNamespace(vocab=[c, 'dog']), composed) == 0
    with pytest.raises(QuickclsError, match='Did you mean dog'): class_number(SimpleNamespace(vocab=[composed, 'dog']), 'dgo')

@pytest.mark.parametrize('names', [
    ('Cat', 'cat'), ('cat', 'cat '), ('golden retriever', 'golden_retriever'), ('a b', 'ab'), ('x\u200by', 'xy')])
def test_names_that_look_like_one(tmp_path, names):
    "Two classes, and a note"
    write_folder(tmp_path, **{n: 2 for n in names})
    items = scan_folder(tmp_path)
    assert len(items.vocab) == 2 and 'differ only in case or spaces' in items.notes[0]

# groups

@pytest.fixture
def patients(tmp_path):
    "Eight patients with images in both classes: `ill/p1/0.png`"
    for p in range(8):
        for c, label in enumerate(('ill', 'well')):
            for i in range(2): put(tmp_path/'set'/label/f'p{p}'/f'{i}.png', (p, c, i))
    return tmp_path/'set'

@pytest.mark.parametrize('pattern', [r'p\d', r'(p\d+)/', r'^(p\d+)'])
def test_groups_on_paths_across_classes(patients, pattern):
    "A patient is on one side, whatever the class"
    t = split_items(scan_folder(patients, group_pattern=pattern)).table
    patient = [Path(p).parent.name for p in t.path]
    assert t.groupby(patient).split.nunique().max() == 1 and t.groupby('label').split.nunique().tolist() == [2, 2]

def test_names_come_before_paths(patients):
    "A pattern that matches the name of a file means the name"
    t = scan_folder(patients, group_pattern=r'\d').table
    assert set(t.group) == {'0', '1'}

@pytest.mark.parametrize('pattern, said', [
    ('subject', "'subject' matches none of the 32 images"), (r'p0/0|p1/0', 'matches only 4 of 32 images: 2 groups; the other 28'),
    (r'p\d', 'matches 32 of 32 images: 8 groups')])
def test_what_a_pattern_found_is_said(patients, pattern, said):
    "Nothing, little, all"
    assert said in '\n'.join(scan_folder(patients, split_by='none', group_pattern=pattern).notes)

def test_a_pattern_that_groups_nothing(tmp_path):
    "Every text once"
    for c in ('cat', 'dog'):
        for i in range(3): put(tmp_path/c/f'{c}{i}.png', (c == 'cat', i))
    assert 'changes nothing' in scan_folder(tmp_path, group_pattern=r'\w+').notes[-1]

def test_one_group_of_all(patients):
    "Nothing can be held out"
    with pytest.raises(QuickclsError, match='single group'): split_items(scan_folder(patients, split_by='none', group_pattern='png'))

def test_groups_on_both_given_sides(tmp_path):
    "Counted like duplicates; the accuracy is given without them"
    rows = [('train', 'ill', 'p1'), ('train', 'well', 'p2'), ('test', 'ill', 'p3'), ('test', 'well', 'p1'), ('test', 'well', 'p4')]
    for i, (split, label, p) in enumerate(rows):
        for k in range(2): put(tmp_path/split/label/f'{p}_{k}.png', 10*i + k)
    items = split_items(scan_folder(tmp_path, group_pattern=r'^p\d'))
    assert any(n.startswith('2 held-out images are in groups with training images') for n in items.notes)
    t, vocab = items.table, items.vocab
    probs = np.array([[.9, .1] if label == 'ill' else [.1, .9] for label in t.label])
    probs[((t.split == 'test') & (t.group != 'p1')).to_numpy()] = [.4, .6]
    table = prediction_table(t, probs, vocab)
    assert table.twin.sum() == 2 and set(table.group[table.twin]) == {'p1'}
    ev = Evaluation(table[table.split == 'test'].reset_index(drop=True), vocab)
    assert ev.metrics()['without_twins']['n'] == 4 and ev.metrics()['without_twins']['accuracy'] == .5
    assert 'without the 2 that are also in the training set or in a group with images of it' in str(ev)

def test_without_a_pattern_nothing_changes():
    "Groups are contents: only duplicates are counted"
    t = pd.DataFrame([dict(path=str(i), label='ab'[i % 2], split='train' if i < 2 else 'test', sha256='0a'[i == 3]*64) for i in range(4)])
    table = prediction_table(t.assign(group=t.sha256), np.full((4, 2), .5), ['a', 'b'])
    assert table.twin.tolist() == [False, False, True, False]

def test_corrections_stay_unchanged_by_forms(tmp_path):
    "A corrected image gets the class of the folder"
    for i in range(4):
        put(tmp_path/'set'/apart/f'{i}.png', i)
        put(tmp_path/'set'/'dog'/f'{i}.png', 10 + i)
    c = Corrections(tmp_path/'corrections')
    c.add((tmp_path/'set'/'dog'/'0.png').read_bytes(), apart)
    items = with_corrections(split_items(scan_folder(tmp_path/'set')), take_corrections(tmp_path/'corrections'))
    assert items.vocab == [composed, 'dog'] and (items.table.label == composed).sum() == 5
