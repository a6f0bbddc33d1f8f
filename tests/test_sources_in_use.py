"Whatever labels come from, `train`, `compare`, `quick_learner`, `evaluate` and `report` take it; a classifier names no private folder"
import json, re, shutil
from pathlib import Path
import pandas as pd, pytest
from quickcls.all import Classifier, Items, read_items, train
from quickcls.core import QuickclsError
from tests.helpers import image

fast = dict(arch='efficientnet_lite0', quiet=True, folds='0', no_images=True)

def private(root):
    "A folder with 24 images, a table beside it with a patient each, and the same with labels in names"
    (root/'secret'/'photos').mkdir(parents=True)
    rows = []
    for i in range(24):
        label = 'cat' if i % 2 else 'dog'
        image((i % 2, i), 32, 32).save(root/'secret'/'photos'/f'{label}_p{i//4}_{i:02}.png')
        rows.append(dict(file=f'photos/{label}_p{i//4}_{i:02}.png', label=label, patient=f'p{i//4}', split='test' if i >= 16 else 'train'))
    pd.DataFrame(rows).to_csv(root/'secret'/'labels.csv', index=False)
    return root/'secret'

@pytest.fixture(scope='module')
def data(tmp_path_factory): return private(tmp_path_factory.mktemp('ann'))

@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    "A classifier that was trained from a table"
    return train(str(data/'labels.csv'), out=str(tmp_path_factory.mktemp('m')/'pets'), **fast)

def texts(folder):
    kinds = '.json', '.csv', '.md', '.html'
    return {p.name: p.read_bytes() for p in Path(folder).rglob('*') if p.is_file() and p.suffix in kinds}

def test_train_from_a_table(trained, data):
    "The split of the table is kept; its columns and its name are remembered; no folder above the images is"
    facts = json.loads((trained.path/'metrics.json').read_text())
    table = pd.read_csv(trained.path/'predictions.csv')
    assert (table.split == 'test').sum() == 8 and set(table.group) == {f'p{i}' for i in range(6)}
    assert trained.info['data']['folder'] == 'secret' and trained.info['data']['labels'] == 'labels.csv'
    assert table.path.str.startswith('secret/photos/').all()
    assert facts['command'].startswith('quickcls train labels.csv') and "path is 'file'" in facts['notes'][0]
    for name, text in texts(trained.path).items(): assert str(data.parent).encode() not in text, name

def test_its_images_are_found_again(trained):
    "For the report and for those who look at mistakes"
    from quickcls.saved.known_images import images_of
    table = pd.read_csv(trained.path/'predictions.csv')
    images = images_of(Classifier.load(trained.path))
    assert all(images.image(p).size == (32, 32) for p in table.path[:3])

def test_evaluate_and_report_on_a_table(trained, data, tmp_path, quickcls):
    "All rows count, as all images of a folder do"
    assert trained.evaluate(data/'labels.csv').n == 24
    assert trained.evaluate(data/'photos', label_pattern='^([a-z]+)_').n == 24
    new = private(tmp_path)
    for i, p in enumerate(sorted((new/'photos').iterdir())): image((9, i), 32, 32).save(p)
    done = quickcls('report', trained.path, '--data', new/'labels.csv', '--out', tmp_path/'r.html', cwd=tmp_path)
    assert done.returncode == 0 and 'secret' in (tmp_path/'r.html').read_text(), done.stderr

def test_a_learner_from_its_table(trained, data):
    "As it was read in training"
    learn = trained.to_learner(data/'labels.csv')
    assert learn.quick.items.table.split.value_counts().to_dict() == dict(train=16, test=8)

def test_train_from_names(data, tmp_path):
    clf = train(str(data/'photos'), out=str(tmp_path/'m'), label_pattern='^(?P<label>[a-z]+)_(?P<group>p[0-9]+)', **fast)
    assert clf.vocab == ['cat', 'dog'] and clf.info['data']['label_pattern'].startswith('^(?P<label>')
    assert set(pd.read_csv(clf.path/'predictions.csv').group) == {f'p{i}' for i in range(6)}
    assert clf.to_learner(data/'photos').dls.vocab == ['cat', 'dog']
    assert '--label-pattern' in json.loads((clf.path/'metrics.json').read_text())['command']

@pytest.mark.slow
def test_train_from_objects(data, tmp_path):
    "A DataFrame, pairs, and `Items`"
    frame = pd.read_csv(data/'labels.csv')
    frame['file'] = [str(data/f) for f in frame.file]
    for i, source in enumerate((frame, list(zip(frame.file, frame.label)), Items.from_csv(data, label_col='label'))):
        clf = train(source, out=str(tmp_path/str(i)), valid_pct=.25, **fast)
        assert clf.info['data']['folder'] == ('secret' if i == 2 else 'photos')
        for name, text in texts(clf.path).items(): assert str(data.parent).encode() not in text, name

def test_the_command_line(data, tmp_path, quickcls):
    "A table beside the images, columns by name; the classifier is named after the folder"
    words = ['--arch', 'efficientnet_lite0', '--folds', '0', '--quiet', '--no-images', '--split-by', 'none']
    done = quickcls('train', data/'photos', '--labels', data/'labels.csv', '--columns', 'path=file,label=label', *words, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path/'models'/'photos'/'classifier.json').is_file(), done.stderr
    data_facts = json.loads((tmp_path/'models'/'photos'/'classifier.json').read_text())['data']
    assert data_facts['columns'] == 'path=file,label=label' and data_facts['valid_pct'] == .3

@pytest.mark.slow
def test_an_archive_on_the_command_line(data, tmp_path, quickcls):
    packed = shutil.make_archive(str(tmp_path/'pets'), 'zip', data.parent, 'secret')
    words = ['--labels', 'labels.csv', '--arch', 'efficientnet_lite0', '--folds', '0', '--quiet', '--no-images']
    done = quickcls('train', packed, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path/'models'/'pets'/'classifier.json').read_text())['data']
    assert facts['folder'] == 'secret' and facts['labels'] == 'labels.csv'

@pytest.mark.parametrize('words, said', [
    (['train', 'pets.7z'], 'pets.7z is an archive.*Unpack it first'), (['train', 'labels.xlsx'], 'labels.xlsx is a table'),
    (['train', 'labels.csv'], 'There is no table labels.csv'), (['train', 'pets.zip'], 'There is no folder pets.zip'),
    (['train', 'set', '--columns', 'label=a'], '--columns is for a table'),
    (['train', 'set', '--label-pattern', '('], 'is not a regular expression'),
    (['train', 'set', '--checksum', 'sha256:0'], '--checksum is for archive'),
    (['train', 'set', '--labels', 'none.csv'], 'There is no table none.csv'),
])
def test_what_cannot_be_read(words, said, tmp_path, quickcls):
    (tmp_path/'set').mkdir()
    for name in ('pets.7z', 'labels.xlsx'): (tmp_path/name).write_bytes(b'x')
    for c in 'ab':
        (tmp_path/'set'/c).mkdir()
        image(ord(c)).save(tmp_path/'set'/c/'1.png')
    done = quickcls(*words, cwd=tmp_path)
    assert done.returncode == 1 and re.search(said, done.stderr), done.stderr

def test_a_classifier_beside_its_table(data, tmp_path, monkeypatch):
    "`models/` may lie in the folder of the table, which is often the current one; nothing around the images is replaced"
    own = shutil.copytree(data, tmp_path/'own')
    monkeypatch.chdir(own)
    clf = train('labels.csv', **fast)
    assert clf.path.resolve() == own/'models'/'own'
    for out in ('.', '..', str(tmp_path)):
        with pytest.raises(QuickclsError, match='one would be inside the other'): train('labels.csv', out=out, force=True, **fast)
    with pytest.raises(QuickclsError, match='one would be inside the other'):
        train('photos', label_pattern='^(.+?)_', out='photos/m', **fast)

@pytest.mark.slow
def test_compare_takes_a_table(data, tmp_path, quickcls):
    done = quickcls('compare', data/'labels.csv', '--arch', 'efficientnet_lite0', '--head', 'ridge', '--quiet', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path/'compare'/'secret'/'runs.jsonl').read_text())
    assert run['n_test'] == 8 and run['n_groups'] == 2

def test_a_lesson_about_a_table(data, tmp_path, quickcls):
    done = quickcls('new', data/'labels.csv', '--columns', 'path=file', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path/'secret.ipynb').read_text()
    assert 'read_items(folder, columns=' in text and 'scan_folder' not in text

# --- data of fastai

@pytest.fixture
def dls(data):
    from fastai.vision.all import ImageDataLoaders, Resize, aug_transforms
    how = dict(item_tfms=Resize(224, 'pad'), batch_tfms=aug_transforms(), bs=4, seed=3, valid_pct=.25)
    return ImageDataLoaders.from_csv(data, 'labels.csv', **how)

def test_data_of_fastai(dls, data, capsys):
    "Its images, labels and split; the head is trained on stored embeddings, and what is not used there is said"
    from quickcls.all import quick_learner
    learn = quick_learner(dls, 'efficientnet_lite0')
    t = learn.quick.items.table
    held = {str(data/f) for f in dls.valid_ds.items.file}
    assert set(t.path[t.split == 'valid']) == held and list(learn.dls.vocab) == list(dls.vocab)
    assert (learn.quick.views[0].size, learn.quick.views[0].resize) == (224, 'pad') and learn.dls.bs == 4
    assert 'fit_head trains on stored embeddings, without' in capsys.readouterr().out

def test_data_of_fastai_in_other_forms(data):
    "Datasets, a function for labels; a recipe alone is refused"
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter, MultiCategoryBlock, get_image_files
    block = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=lambda p: p.name[:3], splitter=IndexSplitter(range(6)))
    sets = block.datasets(data)
    for source in (sets, block.dataloaders(data, bs=4)):
        assert read_items(source).table.split.value_counts().to_dict() == dict(train=18, valid=6)
    assert Path(read_items(sets).folder) == data/'photos'
    with pytest.raises(QuickclsError, match='A DataBlock has no images yet'): read_items(block)
    several = DataBlock((ImageBlock, MultiCategoryBlock), get_items=get_image_files, get_y=lambda p: [p.name[:3]])
    with pytest.raises(QuickclsError, match='not one class an image'): read_items(several.datasets(data))

def test_items_without_a_split_get_one(data):
    from quickcls.all import quick_learner
    learn = quick_learner(Items.from_csv(data, label_col='label'), 'efficientnet_lite0', valid_pct=.25)
    assert set(learn.quick.items.table.split) == {'train', 'valid'}

def test_folds_of_groups_that_hold_every_class():
    "Patients with both classes, in the same order: folds are made all the same, and no patient is divided"
    import numpy as np
    from quickcls.heads.linear import stratified_folds
    y, groups = np.tile([0, 1, 1], 8), np.repeat(np.arange(8), 3)
    folds = stratified_folds(y, groups, 4)
    assert len(folds) == 4 and sorted(np.concatenate([b for _, b in folds])) == list(range(24))
    for a, b in folds: assert not set(groups[a]) & set(groups[b]) and set(y[a]) == {0, 1}
