"Which folders are splits and which are classes: usual layouts are read, unclear ones stop before any image is embedded"
import re
import pytest
from tests.helpers import write_folder
from quickcls.caller import from_command_line
from quickcls.core import QuickclsError
from quickcls.data.items import describe, scan_folder
from quickcls.data.split import split_items
from quickcls.folders.layout import layout_of

def counts(text):
    "`cat 3, dog 0+2` → what `layout_of` takes: 3 images; no image and 2 files that cannot be read"
    def row(n):
        images, _, others = n.partition('+')
        return int(images), int(others or 0), 'a.heic, a HEIC photo' if others else ''
    return {tuple(p.split('/')): row(n) for p, n in (w.strip().rsplit(' ', 1) for w in text.split(','))}

def read(text, **kw):
    "(labels of each split, notes)"
    layout, found = layout_of(counts(text), where='pets', **kw), {}
    for label, split in layout.classes.values(): found.setdefault(split, set()).add(label)
    return found, '\n'.join(layout.notes)

two = {'cat', 'dog'}
both = dict(train=two, test=two)

def halves(train, held): return f'{train}/cat 5, {train}/dog 5, {held}/cat 2, {held}/dog 2'

@pytest.mark.parametrize('train, held, split', [
    ('train', 'test', 'test'), ('training_set', 'test_set', 'test'), ('train', 'eval', 'valid'), ('Train Data', 'Test Data', 'test'),
    ('seg_train/seg_train', 'seg_test/seg_test', 'test'), ('train2017', 'val2017', 'valid'), ('TrainImages', 'TestImages', 'test'),
    ('trainset', 'devset', 'valid'), ('images_train', 'images_test', 'test'), ('asl_alphabet_train', 'asl_alphabet_test', 'test'),
    ('training-set', 'held-out', 'test'), ('TRAINING', 'Validation', 'valid'), ('archive/data/train', 'archive/data/val', 'valid')])
def test_usual_names_of_splits(train, held, split):
    "Prefixes, suffixes, numbers, capitals, repeated folders"
    assert read(halves(train, held))[0] == {'train': two, split: two}

def test_a_split_without_usual_name_is_said():
    "How a folder is read is told where its name does not say it"
    assert 'eval is read as valid' in read(halves('train', 'eval'))[1] and not read(halves('train', 'test'))[1]

@pytest.mark.parametrize('held, n', [
    ('test 9', 9), ('val/images 9', 9), ('test/unknown 9', 9), ('test/test 4', 4), ('unlabeled 3', 3), ('images to predict/x 2', 2)])
def test_held_out_folders_without_labels(held, n):
    "Their images are counted and left out"
    found, notes = read(f'train/cat 5, train/dog 5, {held}')
    assert found == dict(train=two) and f'the {n} images in' in notes and 'quickcls predict' in notes

def test_a_held_out_folder_of_unreadable_files():
    "It is named with what is in it"
    found, notes = read('train/cat 5, train/dog 5, test/cat 0+4')
    assert found == dict(train=two) and 'test holds no readable image (4 files, the first: a.heic, a HEIC photo)' in notes

def test_class_names_in_other_capitals():
    "`test/Cat` beside `train/cat` is the same class, and that is said; a class that the test lacks is named"
    found, notes = read('train/cat 5, train/dog 5, test/Cat 3')
    assert found == dict(train=two, test={'cat'}) and "test/Cat is read as the class 'cat'" in notes and 'no image of dog' in notes

def test_classes_that_are_years():
    "Decades are classes of a data set about dates"
    assert read('train/1990 5, train/2000 5, test/1990 3, test/2000 3')[0] == dict(train={'1990', '2000'}, test={'1990', '2000'})

def test_splits_inside_each_class():
    "cat/train, cat/test"
    found, notes = read('cat/train 5, cat/test 4, dog/train 3, dog/test 2')
    assert found == both and 'test and train in each class folder' in notes

unclear = [
    ('val/cat 5, val/dog 5, test/cat 2, test/dog 3', '--split-by train=val,test=test'),
    (halves('train', 'test') + ', results 4', 'results not.*--split-by train=train,test=test leaves'),
    (halves('train', 'train_augmented'), 'folders of the same names.*--split-by'),
    (halves('train', 'test') + ', train_augmented/cat 3, train_augmented/dog 3', 'train_augmented not'),
    (halves('data set A', 'data set B'), "same names .cat and dog.*'train=data set A,test=data set B'"),
    ('A/train/cat 5, A/test/cat 5, B/train/cat 4, B/test/cat 4', 'several data sets.*pets/A'),
    ('set/train/cat 5, set/train/dog 5, set/test/cat 4, docs 4', 'pets/set'),
    ('images/cat 5, images/dog 5, masks/cat 5, masks/dog 5', 'masks.*pets/images'),
    ('images 5, masks 5', 'masks.*--split-by none'),
    ('cat 5, dog 5, unlabelled 9', '--classes cat,dog'),
    ('fold0/cat 5, fold0/dog 5, fold1/cat 5, fold1/dog 5, fold2/cat 5, fold2/dog 5', 'folds.*--split-by train=fold0.fold1,test=fold2'),
    ('cat/train 5, cat/test 4, dog 5', 'cat holds the folders test and train; dog'),
    ('train 5, test 5', 'without class folders'),
    ('trainA 5, trainB 5, testA 3, testB 3', 'without class folders'),
    ('train1/cat 5, train1/dog 5, test1/cat 5, train2/cat 5, test2/cat 4', 'can all be the split'),
    (halves('train', 'test') + ', cat 3, dog 3', 'cat and dog not'),
    ('cat 5, dog 5, set/cat 5, set/dog 4', 'beside it too.*--classes cat,dog'),
    ('train/images 5, test/images 5', 'no class folders'),
    ('train/cat 0+2, test/cat 3, test/dog 4', 'named like a split')]

@pytest.mark.parametrize('text, said', unclear, ids=[t for t, _ in unclear])
def test_unclear_layouts_stop(text, said):
    "One line: what was seen, and what decides"
    with pytest.raises(QuickclsError) as e: read(text)
    with from_command_line(): why = str(e.value)
    assert re.search(said, why) and '\n' not in why and why.startswith('pets: ') and '--' not in str(e.value)

@pytest.mark.parametrize('text, classes, said', [
    ('plane 5, train 5, bus 4', {'plane', 'train', 'bus'}, "'train' is read as a class"),
    ('test 5, control 5', {'test', 'control'}, "'test' is read as a class"),
    ('train/2020 5, train/2021 4, plane/2020 3', {'train', 'plane'}, "'train' is read as a class"),
    ('cat 5, unknown 4', {'cat', 'unknown'}, "'unknown' is read as a class"),
    ('train station 5, bus 5, test tube 4', {'train station', 'bus', 'test tube'}, ''),
    ('cat/2023 5, cat/2024 5, dog/2023 5', two, ''), ('cat/images 5, dog/images 4', two, ''), ('cat/cat 5, dog/dog 4', two, ''),
    ('animals/cat 5, vehicles/car 5', {'animals', 'vehicles'}, 'belong to the class around them: car and cat'),
    ('cat 5, dog 5, bird 0+3, fox 0', two, 'no readable image in bird (3 files, the first: a.heic, a HEIC photo) and fox (empty)'),
    ('Cat 5, cat 4, dog 4', {'Cat', 'cat', 'dog'}, "'Cat' and 'cat'; are they one class?")])
def test_folders_that_are_classes(text, classes, said):
    "Classes stay classes, whatever their names; what might surprise is said"
    found, notes = read(text)
    assert found == {None: classes} and said in notes and bool(said) == bool(notes)

@pytest.mark.parametrize('text, options, found', [
    (halves('A', 'B'), dict(split_by='none'), {None: {'A', 'B'}}),
    (halves('A', 'B'), dict(split_by='train=A,test=b'), both),
    (halves('A', 'B'), dict(classes='cat,dog'), {None: two}),
    (halves('fold0', 'fold1') + ', fold2/cat 3', dict(split_by='test=fold1'), both),
    (halves('A', 'B') + ', C/cat 3', dict(split_by='train=A+C,val=B'), dict(train=two, valid=two)),
    (halves('train', 'test') + ', results 4', dict(split_by='train=train,test=test'), both),
    (halves('train', 'test') + ', results 4', dict(classes='cat,dog'), both),
    (halves('train', 'test') + ', train/emu 4, test/emu 4', dict(classes='dog,cat'), both),
    ('cat/day1 5, cat/day2 5, dog/day1 5, dog/day2 4', dict(split_by='train=day1,test=day2'), both),
    ('train 5, test 5', dict(split_by='none'), {None: {'train', 'test'}}),
    ('cat 5, dog 5, masks 5', dict(classes=['cat', 'dog']), {None: two}),
    ('cafe\u0301 5, dog 5, emu 4', dict(classes='café,dog'), {None: {'café', 'dog'}})])
def test_options_decide(text, options, found):
    "`split_by` and `classes`"
    assert read(text, **options)[0] == found

@pytest.mark.parametrize('options, said', [
    (dict(split_by='train'), 'Expected none'), (dict(split_by='day=A'), 'Expected none'), (dict(split_by='train=A,test=C'), "'C'.*A and B"),
    (dict(split_by='train=A+A'), 'twice'), (dict(classes='cat,dgo'), "'dgo'.*cat and dog")])
def test_wrong_options(options, said):
    "What was named, and what there is"
    with pytest.raises(QuickclsError, match=said): read(halves('A', 'B'), **options)

def test_folders_of_groups_are_no_classes():
    "Patients inside classes: with the pattern that finds them it is clear what they are"
    text = 'ill/p1 5, ill/p2 5, well/p1 5, well/p3 4'
    with pytest.raises(QuickclsError, match='group_pattern='): read(text)
    for pattern in (r'p\d+', r'(p\d+)/'): assert read(text, group_pattern=pattern)[0] == {None: {'ill', 'well'}}

def test_a_classifier_knows_its_classes():
    "Where all folders are classes of the classifier, nothing else is looked for"
    assert read('ill/p1 5, well/p1 4', known=('ill', 'well', 'other'))[0] == {None: {'ill', 'well'}}
    assert read('ill/p1 5, ill/p2 4', known=('ill', 'well'))[0] == {None: {'ill'}}

# with files

def test_the_split_is_drawn_where_no_label_is_held_out(tmp_path):
    "A flat test folder"
    write_folder(tmp_path/'train', cat=8, dog=8)
    write_folder(tmp_path, start=50, test=3)
    items = split_items(scan_folder(tmp_path))
    assert items.table.groupby('label').split.nunique().tolist() == [2, 2] and len(items) == 16
    assert 'the 3 images in test have no label' in describe(items) and 'drawn from the training images' in describe(items)

def test_the_split_is_drawn_where_held_out_images_are_damaged(tmp_path):
    "Their headers are whole, so they are found only when they are decoded"
    write_folder(tmp_path/'train', cat=8, dog=8)
    write_folder(tmp_path/'test', start=50, cat=2, dog=2)
    scanned = scan_folder(tmp_path)
    scanned.table = scanned.table[scanned.table.split == 'train'].reset_index(drop=True) # as `embed_all` leaves it
    items = split_items(scanned)
    assert set(items.table.split) == {'train', 'valid'} and 'no held-out image can be used' in items.notes[-1]

def test_one_class_left_names_the_others(tmp_path):
    "HEIC alone in a class folder"
    write_folder(tmp_path, cat=3, fox=0)
    (tmp_path/'bird').mkdir()
    (tmp_path/'bird'/'a.heic').write_bytes(b'damaged')
    with pytest.raises(QuickclsError, match=r'Only one class.*bird \(1 file, the first: a.heic, .*fox \(empty\)'): scan_folder(tmp_path)

@pytest.mark.parametrize('make', [
    lambda d: [write_folder(d/f'fold{i}', start=9*i, cat=3, dog=3) for i in range(3)],
    lambda d: write_folder(d, train=3, test=3),
    lambda d: [write_folder(d/n, start=9*i, cat=3, dog=3) for i, n in enumerate(('train', 'test', 'results'))]])
def test_training_stops_before_the_network(tmp_path, make, monkeypatch):
    "Nothing is embedded, nothing is written"
    from quickcls.train.pipeline import Pipeline, train
    make(tmp_path/'data')
    monkeypatch.setattr(Pipeline, 'embed', lambda self: pytest.fail('images were embedded'))
    with pytest.raises(QuickclsError, match='split'): train(tmp_path/'data', out=tmp_path/'out', quiet=True)
    assert not (tmp_path/'out').exists()

def test_commands_take_the_options(tmp_path, monkeypatch):
    "train, compare, preview, and every step of a notebook from `new`, read the same folders"
    from quickcls.sets.notebook import new_notebook
    from quickcls.compare.command import compare
    from quickcls.train.augment_preview import preview
    from quickcls.train.pipeline import Pipeline, train
    class Scanned(Exception): pass
    def stop(self): raise Scanned
    data, seen = tmp_path/'data', []
    for i in range(2): write_folder(data/f'fold{i}', start=9*i, cat=3, dog=3, emu=2)
    options = dict(split_by='train=fold0,test=fold1', classes='cat,dog')
    monkeypatch.setattr(Pipeline, 'embed', stop)
    with pytest.raises(Scanned): train(data, out=tmp_path/'out', quiet=True, **options)
    monkeypatch.setattr('quickcls.compare.command.run_all', lambda plan, trials, *a: seen.append(trials.items(0)) or stop(None))
    with pytest.raises(Scanned): compare(data, out=tmp_path/'compare', quiet=True, arch='efficientnet_lite0', **options)
    assert seen[0].vocab == ['cat', 'dog'] and seen[0].table.split.value_counts().to_dict() == dict(train=6, valid=6)
    preview(data, out=tmp_path/'sheet.png', n=2, **options)
    notebook = new_notebook(data, out=tmp_path/'n.ipynb', **options).read_text()
    same = "(folder, split_by='train=fold0,test=fold1', classes='cat,dog'"
    assert all(call+same in notebook for call in ('scan_folder', 'doctor', 'train'))

def test_the_command_keeps_the_options():
    "The command that trains the same"
    from quickcls.train.options import Training
    t = Training('pets', split_by='train=day 1,test=day 2', classes=['cat', 'dog'])
    assert "--split-by 'train=day 1,test=day 2' --classes cat,dog" in t.command

def test_a_learner_takes_the_options_of_folders(tmp_path):
    "`quick_learner` reads a folder as `train` does: which folders are splits, which are classes"
    from quickcls.model.learner import quick_learner
    for day, n in (('A', 4), ('B', 2)): write_folder(tmp_path/'d'/day, start=n, cat=n, dog=n, emu=n)
    learn = quick_learner(tmp_path/'d', 'efficientnet_lite0@64', split_by='train=A,test=B', classes='cat,dog')
    assert [len(d.items) for d in (learn.dls.train, learn.dls.valid)] == [8, 4] and list(learn.dls.vocab) == ['cat', 'dog']
