"A classifier goes to other processes and copies, and says the truth when its folder has moved"
import copy, json, multiprocessing, os, pickle, shutil
import numpy as np, pytest
from pathlib import Path
from quickcls.all import Classifier
from quickcls.backbones.onnx_graph import Graph
from quickcls.cli import main
from quickcls.core import QuickclsError
from quickcls.heads.head import Head
from quickcls.report.page import write_report
from tests.helpers import classifier_folder, repo, some_parts, write_folder

saved, photo = repo/'tests'/'fixtures'/'saved_classifiers', repo/'docs'/'parts'/'ok.jpg'

@pytest.fixture
def folder(tmp_path): return shutil.copytree(saved/'net', tmp_path/'net')

def unsaved(tmp_path=None, seed=0):
    "A classifier on the network of a saved one, with a head of random numbers"
    net = Classifier.load(saved/'net')
    graph = Graph(net.path/'model.onnx', net.views[0], 'net', net.head.n_in, net.open_set.late[0][1]//2, 'trained', 1.)
    w = np.random.default_rng(seed).normal(size=(2, graph.dim)).astype(np.float32)
    clf = Classifier(['a', 'b'], net.views, 'all', Head('linear', [dict(kind='linear')], {'0.weight': w}), graphs=[graph])
    return clf.save(tmp_path/'m', force=True) if tmp_path else clf

def asked(clf): return clf.predict(photo).top

# --- copies

makers = dict(net=lambda: Classifier.load(saved/'net'), classic=lambda: Classifier.load(saved/'classic'), unsaved=unsaved)

@pytest.mark.parametrize('kind', makers)
def test_copies_and_pickles_answer_alike(kind):
    "Before and after the first answer and heat map; the copy has engines of its own"
    if kind == 'classic': pytest.importorskip('cv2')
    clf = makers[kind]()
    before, first = pickle.dumps(clf), copy.deepcopy(clf)
    want = asked(clf)
    clf.explain(photo)
    for other in (pickle.loads(before), pickle.loads(pickle.dumps(clf)), first, copy.deepcopy(clf), copy.copy(clf)):
        assert asked(other) == want and other.engine is not clf.engine
    assert other.explain(photo).label == want[0]['label']

def test_what_it_gives_can_be_sent_too():
    "Answers, tables, heat maps; fastai's Learner has its own `export`"
    clf = Classifier.load(saved/'net')
    answer, heat, tags, ev, trust = clf.predict(photo), clf.explain(photo), clf.tag(photo), clf.evaluate(), clf.trust
    for thing in (answer, heat, tags, trust, clf.head, clf.open_set, clf.views):
        for again in (pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing)): assert str(again) == str(thing)
    again = pickle.loads(pickle.dumps(ev))
    assert again.accuracy == ev.accuracy and again.confusion_matrix().equals(ev.confusion_matrix())

def label_of(clf, source):
    "What a worker process does"
    os.environ['QUICKCLS_QUIET'] = '1'
    return clf.predict(source).top

@pytest.mark.parametrize('how', ['spawn', 'loky'])
def test_worker_processes(how, cache):
    "A classifier that has answered is an argument as any other"
    clf = Classifier.load(saved/'net')
    want = asked(clf)
    if how == 'loky':
        joblib = pytest.importorskip('joblib')
        got = joblib.Parallel(2)(joblib.delayed(label_of)(clf, photo) for _ in 'ab')
    else:
        with multiprocessing.get_context('spawn').Pool(1) as pool: got = pool.starmap(label_of, [(clf, photo), (clf, photo)])
    assert got == [want, want]

def test_another_head_shares_what_is_open():
    "The one way to make a classifier of another one; `replace` of the standard library would open it again"
    clf = unsaved()
    want = asked(clf)
    clf.explain(photo)
    other = clf.with_head(Head('linear', [dict(kind='linear')], {'0.weight': -clf.head.arrays['0.weight']}), vocab=['c', 'd'])
    assert other.engine is clf.engine and other.opened('stages', lambda: None) is clf.opened('stages', lambda: None)
    assert [t['label'] for t in asked(other)] == [dict(a='d', b='c')[t['label']] for t in want] and asked(clf) == want

def test_no_module_reads_underscore_names_of_a_classifier():
    import re
    reads = re.compile(r'(clf|classifier)\._[a-z]|\.(_opened|_stages|_engine)\b')
    own = repo/'quickcls'/'model'/'classifier.py'
    assert [p.name for p in (repo/'quickcls').rglob('[a-z]*.py') if p != own and reads.search(p.read_text(encoding='utf8'))] == []

# --- folders that move

def test_the_program_goes_elsewhere(folder, tmp_path, monkeypatch):
    "A relative path means the folder that was meant when it was loaded: for answers, maps, tables and the training images"
    monkeypatch.chdir(tmp_path)
    clf = Classifier.load('net')
    (tmp_path/'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path/'elsewhere')
    assert asked(clf) and clf.explain(photo).label and clf.evaluate().n and clf.trust.warnings is not None
    assert clf.folder == folder and clf.path == Path('net')
    assert pickle.loads(pickle.dumps(clf)).predict(photo).top == asked(clf)

def test_a_folder_that_moved_after_an_answer(folder, tmp_path):
    "What is open goes on; what is not says that the folder is gone"
    clf = Classifier.load(folder)
    want = asked(clf)
    folder.rename(tmp_path/'renamed')
    assert asked(clf) == want
    for ask in (lambda: clf.explain(photo), clf.evaluate, lambda: clf.trust, lambda: asked(copy.copy(clf))):
        with pytest.raises(QuickclsError) as e: ask()
        assert str(e.value) == f'{folder}, from which this classifier was loaded, is gone. Load it again from where it is now.'
    assert asked(Classifier.load(tmp_path/'renamed')) == want

@pytest.mark.parametrize('what', ['renamed', 'deleted', 'a file'])
def test_a_folder_that_moved_before_an_answer(folder, tmp_path, what):
    clf = Classifier.load(folder)
    if what == 'renamed': folder.rename(tmp_path/'renamed')
    elif what == 'deleted': shutil.rmtree(folder)
    else: (folder/'model.onnx').unlink()
    said = 'has no model.onnx any more' if what == 'a file' else 'is gone. Load it again'
    for ask in (lambda: clf.predict(photo), lambda: clf.predict([photo]), lambda: clf.tag(photo), lambda: clf.explain(photo)):
        with pytest.raises(QuickclsError, match=said): ask()

def test_a_folder_that_was_written_again(tmp_path):
    "An old head on a new graph would answer wrongly without a word; the same files under a new date are the same"
    clf, later = unsaved(tmp_path), Classifier.load(tmp_path/'m')
    os.utime(tmp_path/'m'/'model.onnx', (1, 1))
    assert asked(clf) # before the folder changes
    unsaved(tmp_path, seed=1)
    with pytest.raises(QuickclsError, match='model.onnx was replaced after this classifier was loaded. Load it again.'): asked(later)
    with pytest.raises(QuickclsError, match='was replaced'): asked(pickle.loads(pickle.dumps(later)))

# --- folders that are read only

@pytest.fixture
def read_only(tmp_path, monkeypatch):
    "A classifier in a folder in which nothing can be written, whoever asks"
    folder, write = tmp_path/'model', Path.write_bytes
    classifier_folder(folder, ['a', 'b'], 30)
    def refuse(path, *args):
        if folder in path.parents: raise OSError(30, 'Read-only file system', str(path))
        return write(path, *args)
    monkeypatch.setattr(Path, 'write_bytes', refuse)
    return folder

def test_a_page_elsewhere_needs_no_right_to_write(read_only, tmp_path, capsys):
    out = tmp_path/'page.html'
    assert main(['report', str(read_only), '--out', str(out), '--no-images']) == 0
    said = capsys.readouterr()
    assert out.read_text().startswith('<!') and not (read_only/'README.md').exists() and said.err == ''
    assert [l for l in said.out.splitlines() if 'README.md' in l] == [
        f'note: {read_only}/README.md was not written: that disk is read-only: choose another place.']

def test_a_card_that_may_not_be_replaced_is_told(tmp_path, capsys):
    folder, out = tmp_path/'model', tmp_path/'page.html'
    classifier_folder(folder, ['a', 'b'], 30)
    (folder/'README.md').mkdir()
    assert main(['report', str(folder), '--out', str(out), '--no-images']) == 0 and out.is_file()
    assert 'note: ' in capsys.readouterr().out
    assert main(['report', str(folder), '--no-images']) == 1 and not (folder/'report.html').exists()

def test_the_page_itself_has_to_be_written(read_only, capsys):
    "Without --out it belongs into the folder: one line, and what to do"
    assert main(['report', str(read_only), '--no-images']) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and 'report.html cannot be written' in said[0] and said[0].count('report.html') == 1
    assert '--out names another file' in said[0]

# --- what the files say of places

def test_no_file_names_the_folders_above_the_images(tmp_path, cache):
    "An absolute path stays private, of images, corrections, background and output; the report still shows the images"
    from quickcls.all import train
    secret = tmp_path/'ann'/'patients'
    some_parts(secret/'xrays', slice(12))
    write_folder(secret/'other', noise=4)
    clf = train(secret/'xrays', out=secret/'m', arch='efficientnet_lite0', background=str(secret/'other'), folds='2x1', quiet=True)
    told = [p.name for p in clf.path.iterdir() if b'patients' in p.read_bytes() or str(tmp_path).encode() in p.read_bytes()]
    assert told == [] and clf.info['data']['folder'] == 'xrays' and (clf.evaluate().table.path.map(os.path.isfile)).all()
    assert 'data:image/jpeg' in write_report(clf.path).read_text(encoding='utf8')

def test_the_same_images_trained_on_from_two_places(tmp_path, cache, monkeypatch):
    "Either classifier finds them"
    from quickcls.saved.known_images import remember_folders, remembered_folders
    remember_folders('0123456789abcdef', {'pets': tmp_path/'pets'})
    remember_folders('0123456789abcdef', {'data/pets': tmp_path/'data'/'pets'})
    assert dict(remembered_folders('0123456789abcdef')) == {'pets': tmp_path/'pets', 'data/pets': tmp_path/'data'/'pets'}
