"What people say counts: at once, for good, and only where they may"
import json, re, shutil, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, pandas as pd, pytest
from PIL import Image
from quickcls.model.classifier import Classifier
from quickcls.core import QuickclsError, cache_dir
from quickcls.data.corrections import Corrections, checked_class_name, manifest, take_corrections
from quickcls.data.formats import NotAnImage
from quickcls.model.update import Teacher
from quickcls.train.pipeline import train
from tests.helpers import as_bytes, bad_files, files_of, image, repo

lite0 = dict(arch='efficientnet_lite0', quiet=True)

@pytest.fixture(scope='module')
def parts(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('teach'))

@pytest.fixture
def wrong(parts):
    "(bytes, right label) of a held-out image that is taken for the other class"
    t = parts.evaluate().table
    row = t[t.label != t.predicted].iloc[0]
    return Path(row.path).read_bytes(), row.label

def plate(i):
    return as_bytes(
        Image.fromarray(np.random.default_rng(i).normal((40, 60 + i, 200), 12, (96, 96, 3)).clip(0, 255).astype(np.uint8)), 'PNG'
    )


def files(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())

def test_a_correction_counts_at_once_and_undo_takes_it_back(parts, wrong, tmp_path):
    data, label = wrong
    teacher = Teacher.of(parts, tmp_path/'c')
    before = teacher.clf.predict(data)
    teacher.teach(plate(0), 'defect') # what scipy takes to be imported is no retraining
    teacher.undo()
    t = time.perf_counter()
    teacher.teach(data, label, before)
    assert time.perf_counter() - t < 4
    assert before.label != label == teacher.clf.predict(data).label
    row, = teacher.rows()
    assert row['said'] == dict(label=before.label, probability=before.top[0]['probability'], unknown=before.unknown) and row[
        'model'
    ].startswith('parts ')
    assert teacher.undo() == row and teacher.clf is parts and teacher.clf.predict(data) == before and teacher.undo() is None
    assert files(tmp_path/'c') == [manifest]

def test_the_rest_stays_as_it_was(parts, wrong, tmp_path):
    teacher, t = Teacher.of(parts, tmp_path/'c'), parts.evaluate().table
    teacher.teach(*wrong)
    after = [p.label for p in teacher.clf.predict(list(t.path))]
    assert sum(a != b for a, b in zip(after, t.predicted)) <= 4 and np.mean(np.array(after) == t.label) >= np.mean(t.predicted == t.label)

def test_a_new_kind_is_known_with_what_is_like_it(parts, tmp_path):
    teacher = Teacher.of(parts, tmp_path/'c')
    foreign = as_bytes(image(3))
    assert parts.predict(plate(9)).unknown and parts.predict(foreign).unknown
    for i in range(3): teacher.teach(plate(i), 'blue <b>plate')
    p = teacher.clf.predict(plate(9))
    assert (p.label, p.unknown) == ('blue <b>plate', False) and p.nearest[0]['picture'].startswith('corrections/blue <b>plate/')
    assert teacher.clf.predict(foreign).unknown and parts.vocab == ['defect', 'ok']
    import quickcls.explain.heatmap, quickcls.explain.regions
    assert teacher.clf.explain(plate(9)).label == 'blue <b>plate' and not teacher.clf.tag(plate(9)).error

def test_a_restart_answers_the_same(parts, wrong, tmp_path):
    teacher = Teacher.of(parts, tmp_path/'c')
    teacher.teach(*wrong)
    teacher.teach(plate(0), 'plate')
    again = Teacher.of(Classifier.load(parts.path), tmp_path/'c')
    assert again.clf.predict(wrong[0]).top == teacher.clf.predict(wrong[0]).top and again.clf.vocab == teacher.clf.vocab

def test_a_training_image_that_was_mislabelled(parts, tmp_path):
    "It no longer speaks for its old class, in the head and among the nearest"
    t = pd.read_csv(parts.path/'predictions.csv')
    row = t[(t.split == 'train') & (t.label == 'ok')].iloc[0]
    teacher = Teacher.of(parts, tmp_path/'c')
    file, = files_of(parts, [row.path])
    p = teacher.teach(Path(file).read_bytes(), 'defect').predict(file)
    assert p.label == 'defect' and {n['label'] for n in p.nearest[:2]} == {'defect'}

@pytest.mark.parametrize(
    'head, levels, arch',
    [
        ('fastai', 'all', 'efficientnet_lite0'),
        ('mlp:20', 'last', 'efficientnet_lite0'),
        ('linear', 'last', 'efficientnet_lite0+efficientnet_lite0@128'),
        ('views', 'all', 'efficientnet_lite0+efficientnet_lite0@128'),
    ],
)
def test_heads_and_views_of_every_kind(tmp_path, head, levels, arch):
    clf = train(repo/'datasets'/'parts', out=tmp_path/'m', arch=arch, head=head, levels=levels, epochs=3, folds='3', quiet=True)
    teacher, t = Teacher.of(clf, tmp_path/'c'), clf.evaluate().table
    row = t.iloc[0]
    other = 'ok' if row.predicted == 'defect' else 'defect'
    assert teacher.teach(Path(row.path).read_bytes(), other).predict(row.path).label == other
    assert teacher.teach(plate(1), 'plate').predict(plate(1)).label == 'plate'

def test_without_its_embeddings(parts, wrong, tmp_path, graphs_of):
    "A pruned store: the images are embedded once more, and where they are gone the error says so"
    notes = cache_dir('folders') # where the images are on this machine
    with graphs_of('efficientnet_lite0', tmp_path/'cache'):
        shutil.copytree(notes, cache_dir('folders'), dirs_exist_ok=True)
        asked_without_embeddings(parts, wrong, tmp_path)

def asked_without_embeddings(parts, wrong, tmp_path):
    said = []
    teacher = Teacher.of(parts, tmp_path/'c', say=said.append)
    assert 'training images' in said[0] and teacher.teach(*wrong).predict(wrong[0]).label == wrong[1]
    shutil.copytree(parts.path, tmp_path/'m')
    pd.read_csv(parts.path/'predictions.csv').assign(path='gone.jpg').to_csv(tmp_path/'m'/'predictions.csv', index=False)
    with pytest.raises(QuickclsError, match='training images.*store'):
        Teacher.of(Classifier.load(tmp_path / 'm'), tmp_path / 'c', say=said.append)
    (tmp_path/'m'/'predictions.csv').unlink()
    with pytest.raises(QuickclsError, match='predictions.csv'): Teacher.of(Classifier.load(tmp_path/'m'), tmp_path/'c')

def test_a_failure_leaves_everything_as_it_was(parts, wrong, tmp_path, monkeypatch):
    teacher = Teacher.of(parts, tmp_path/'c')
    for data, label in [(b'<html>', 'ok'), (wrong[0][:800], 'ok'), (wrong[0], '../ok'), (wrong[0], '')]:
        with pytest.raises(QuickclsError): teacher.teach(data, label)
    monkeypatch.setattr('quickcls.model.update.moved_head', lambda *a: 1/0)
    with pytest.raises(ZeroDivisionError): teacher.teach(*wrong)
    assert teacher.clf is parts and teacher.rows() == []

def test_many_ask_and_teach_at_once(parts, tmp_path):
    teacher, answers = Teacher.of(parts, tmp_path/'c'), []
    def work(i):
        if i % 2: teacher.teach(plate(i), 'plate')
        answers.append(teacher.clf.predict(plate(i)))
    with ThreadPoolExecutor(6) as pool: list(pool.map(work, range(16)))
    import quickcls.explain.heatmap
    with ThreadPoolExecutor(6) as pool: assert {h.label for h in pool.map(lambda i: teacher.clf.explain(plate(i)), range(12))} == {'plate'}
    assert len(teacher.rows()) == 8 and len(answers) == 16 and not any(a.error for a in answers)
    assert teacher.clf.predict(plate(2)).label == 'plate'

def test_teaching_takes_no_torch(python, parts, wrong, tmp_path):
    (tmp_path/'a.jpg').write_bytes(wrong[0])
    code = (
        'import sys\nfrom pathlib import Path\nfrom quickcls.model.classifier import Classifier\nfrom '
        'quickcls.model.update import Teacher\nt = Teacher.of(Classifier.load(sys.argv[1]), '
        'sys.argv[2])\nt.teach(Path(sys.argv[3]).read_bytes(), "scratch")\nprint([m for m in ("torch", '
        '"fastai", "timm", "onnx", "matplotlib") if m in sys.modules], t.clf.predict(sys.argv[3]).label)'
    )
    assert python(code, parts.path, tmp_path/'c', tmp_path/'a.jpg').strip() == '[] scratch'

def test_flowers(photos, tmp_path):
    "Every held-out mistake is mended by one word, and the others hardly lose"
    clf = train(photos('flowers'), out=tmp_path/'flowers', **lite0)
    teacher, t = Teacher.of(clf, tmp_path/'c'), clf.evaluate().table
    for row in t[t.label != t.predicted].itertuples():
        assert teacher.teach(Path(row.path).read_bytes(), row.label).predict(row.path).label == row.label
    held = [p.label for p in teacher.clf.predict(list(t.path))]
    assert np.mean(np.array(held) == t.label) >= np.mean(t.predicted == t.label)

# what is kept

def test_the_folder_is_what_was_said(tmp_path):
    c = Corrections(tmp_path/'c')
    a, b = as_bytes(image(1)), as_bytes(image(2), 'PNG')
    c.add(a, 'x')
    c.add(b, 'y')
    c.add(a, 'z')
    assert [(r['label'], Path(r['file']).suffix) for r in c.rows()] == [('y', '.png'), ('z', '.jpg')]
    assert {p.name for p in c.folder.iterdir()} == {'y', 'z', manifest} and c.path(c.rows()[1]).read_bytes() == a
    assert c.add(a, 'z') == c.rows()[1] and len((c.folder/manifest).read_text().splitlines()) == 3
    assert [c.undo()['label'] for _ in range(3)] == ['z', 'y', 'x'] and c.rows() == []

@pytest.mark.parametrize(
    'label',
    [
        '',
        ' ',
        '.',
        '..',
        '../up',
        'a/b',
        'a\\b',
        'C:x',
        '.hidden',
        'nul\0',
        'bell\a',
        'turn\u202e',
        'x' * 61,
        '\ud800',
        manifest,
        '__MACOSX',
        None,
        7,
    ],
)
def test_hostile_labels(tmp_path, label):
    c = Corrections(tmp_path/'in'/'c')
    with pytest.raises(QuickclsError): c.add(as_bytes(image(1)), label)
    assert files(tmp_path) == []

@pytest.mark.parametrize('label', ['дуб', '寿司', '🐻', '42', 'two words', '<b>x "y"', "it's", '%s {x}', 'CON'])
def test_labels_of_any_script(tmp_path, label):
    c = Corrections(tmp_path/'c')
    c.add(as_bytes(image(1)), f'  {label}\n')
    assert [r['label'] for r in Corrections(tmp_path/'c').rows()] == [label] and checked_class_name(label) == label

def test_bad_images(tmp_path):
    c = Corrections(tmp_path/'c')
    for data, reason in bad_files().values():
        with pytest.raises(NotAnImage): c.add(data, 'x')
    assert not c.folder.exists()

def test_a_hostile_manifest(tmp_path):
    "Nothing outside is read, written or removed, whatever stands in the manifest"
    (tmp_path/'secret.jpg').write_bytes(secret := as_bytes(image(5)))
    c = Corrections(tmp_path/'c')
    good = c.add(as_bytes(image(1)), 'x')
    h = 'a'*64
    lines = [
        dict(label='..', sha256=h, file=f'../{h[:24]}.jpg'),
        dict(label='x', sha256=h, file='../secret.jpg'),
        dict(label='x', sha256=h, file='/etc/passwd'),
        dict(label='x', sha256='../..', file='x/../...jpg'),
        dict(label='x', sha256=h, file=f'x/{h[:24]}.jpg', said=[1], model={'a': 1}),
        dict(label='\ud800', sha256=h, file='x'),
        [],
        7,
        None,
        dict(label=['x'], sha256=h, file=3),
    ]
    with open(c.folder / manifest, 'ab') as f:
        f.write(b'\n'.join([*(json.dumps(l).encode() for l in lines), b'\xff\xfe', b'[' * 100_000, b'{"half']))
    assert c.rows() == [good] and len(c.skipped) >= 10
    new = c.add(as_bytes(image(2)), 'y') # half a line is not continued
    assert c.rows() == [good, new]
    while c.undo(): pass
    assert (tmp_path/'secret.jpg').read_bytes() == secret and len((c.folder/manifest).read_bytes().splitlines()) >= 10

def test_links_lead_nowhere(tmp_path):
    (tmp_path / 'away').mkdir()
    (tmp_path / 'c').mkdir()
    (tmp_path/'c'/'x').symlink_to(tmp_path/'away', target_is_directory=True)
    c = Corrections(tmp_path/'c')
    with pytest.raises(QuickclsError, match='leads out'): c.add(as_bytes(image(1)), 'x')
    (tmp_path/'c'/manifest).symlink_to(tmp_path/'away'/'file')
    with pytest.raises(QuickclsError, match='is a link'): c.add(as_bytes(image(1)), 'y')
    assert list((tmp_path/'away').iterdir()) == []

def test_two_threads_write_whole_lines(tmp_path):
    c, images = Corrections(tmp_path/'c'), [as_bytes(image(i, 8, 8), 'PNG') for i in range(40)]
    with ThreadPoolExecutor(8) as pool: list(pool.map(lambda i: c.add(images[i % 40], f'class {i % 3}'), range(120)))
    assert len(c.rows()) == 40 and c.skipped == []
    assert {r['file'] for r in c.rows()} | {manifest} == set(files(c.folder))

# for good

@pytest.fixture
def said(tmp_path):
    "(corrections, a training image and a held-out one that were named otherwise)"
    from quickcls.data.items import scan_folder
    from quickcls.data.split import split_items
    t = split_items(scan_folder(repo/'datasets'/'parts')).table
    rows = [t[t.split == s].iloc[0] for s in ('train', 'valid')]
    c = Corrections(tmp_path/'corrections')
    for r in rows: c.add(Path(r.path).read_bytes(), 'ok' if r.label == 'defect' else 'defect')
    for i in range(3): c.add(plate(i), 'plate')
    return c, rows

def test_train_with_corrections(quickcls, said, tmp_path):
    c, rows = said
    p = quickcls('train', repo/'datasets'/'parts', '--arch', 'efficientnet_lite0', '--with', c.folder, '--out', tmp_path/'m')
    assert p.returncode == 0, p.stderr
    assert re.search('3 new.*2 of the folder.*1 of them held out', p.stdout)
    t = pd.read_csv(tmp_path/'m'/'predictions.csv').set_index('sha256')
    for r in rows: assert (t.split[r.sha256], t.label[r.sha256]) == (r.split, 'ok' if r.label == 'defect' else 'defect')
    new = t[t.label == 'plate']
    assert len(new) == 3 and set(new.split) == {'train'} and len(t) == 243
    m = json.loads((tmp_path/'m'/'metrics.json').read_text())
    assert m['data']['corrections'] == 5 and '--corrections' in m['command'] and m['data']['n_train'] + m['data']['n_valid'] == 243
    clf = Classifier.load(tmp_path/'m')
    assert clf.predict(plate(8)).label == 'plate' and clf.predict(plate(8)).nearest[0]['picture'].startswith('corrections/plate/')
    assert Teacher.of(clf, c.folder).clf.info['taught'] == 1 # the held-out one; the others were learned

def test_corrections_move_no_other_image(parts, said, tmp_path):
    clf = train(repo/'datasets'/'parts', corrections=str(said[0].folder), out=tmp_path/'m', folds='0', **lite0)
    a, b = (pd.read_csv(c.path/'predictions.csv').set_index('sha256').split for c in (parts, clf))
    assert (b[a.index] == a).all()

def test_what_train_says_of_bad_corrections(quickcls, said, tmp_path):
    from tests.test_cli import refused
    data = repo/'datasets'/'parts'
    refused(quickcls('train', data, '--with', tmp_path/'none', '--out', tmp_path/'m'), str(tmp_path/'none'), manifest)
    refused(quickcls('train', data, '--with', data/'ok', '--out', tmp_path/'m'), 'inside')
    refused(quickcls('train', data, '--with', said[0].folder, '--out', said[0].folder/'m'), 'inside')
    row = said[0].rows()[-1]
    said[0].path(row).write_bytes(b'changed')
    assert len(take_corrections(said[0].folder)) == 4 and len(take_corrections(said[0].folder).skipped) == 1
