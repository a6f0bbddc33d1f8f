"A damaged cache is made again, one that can only be read is enough, and what a killed process left is removed"
import hashlib, json, os, shutil, signal, sqlite3, subprocess, sys, time, zlib
from pathlib import Path
import numpy as np, onnx, pytest
from quickcls.all import Classifier, QuickclsError, train
from quickcls.backbones import engines
from quickcls.backbones.engines import OpenVINOEngine
from quickcls.core import check_free, remove_leftovers, whole_file, write_whole
from quickcls.data.items import scan_folder
from quickcls.features.embed import embed_items, read_items
from quickcls.features.store import Store, cache
from tests.helpers import MeanColour, repo, some_parts, tiny_graph, write_folder

# the graph

@pytest.fixture(scope='module')
def exported(graphs_of, tmp_path_factory):
    "A graph in a cache folder of its own"
    from quickcls.backbones.registry import parse_views
    from quickcls.backbones.onnx_graph import get_graph
    view, = parse_views('efficientnet_lite0@64')
    with graphs_of(str(view), tmp_path_factory.mktemp('exported')/'cache'): return get_graph(view)

def scrambled(path, at=.5):
    data = bytearray(path.read_bytes())
    for i in range(int(len(data)*at), int(len(data)*at) + 64): data[i] ^= 0x5a
    path.write_bytes(data)

def renoted(**changes):
    "Function that changes the note of a graph"
    def change(onnx, note):
        d = json.loads(note.read_text()) | changes
        note.write_text(json.dumps({k: v for k, v in d.items() if v is not ...}))
    return change

damages = dict(
    zeros=lambda g, n: g.write_bytes(bytes(g.stat().st_size)),
    scrambled=lambda g, n: scrambled(g),
    truncated=lambda g, n: os.truncate(g, g.stat().st_size // 2),
    gone=lambda g, n: g.unlink(),
    note_scrambled=lambda g, n: scrambled(n, 0.1),
    note_of_bytes=lambda g, n: n.write_bytes(b'\xff\xfe\0' * 50),
    note_list=lambda g, n: n.write_text('[1, 2]'),
    note_number=lambda g, n: n.write_text('7'),
    note_empty=lambda g, n: n.write_text('{}'),
    other_dim=renoted(dim=100),
    other_nf=renoted(nf=7),
    text_dim=renoted(dim='6'),
    no_dim=renoted(dim=...),
    unknown_key=renoted(more=1),
    no_sum=renoted(sha256=...),
)


@pytest.mark.parametrize('damage', damages.values(), ids=damages)
def test_a_damaged_graph_is_not_used(exported, tmp_path, monkeypatch, damage):
    "Whatever is wrong with the graph or its note: not found, so it is made again"
    from quickcls.backbones.onnx_graph import read_graph
    shutil.copytree(exported.path.parent, tmp_path/'graphs')
    monkeypatch.setenv('QUICKCLS_CACHE', str(tmp_path))
    path = tmp_path/'graphs'/exported.path.name
    assert read_graph(exported.digest, exported.view).dim == exported.dim
    damage(path, path.with_suffix('.json'))
    assert read_graph(exported.digest, exported.view) is None

def test_a_damaged_graph_is_made_again(exported, tmp_path, monkeypatch):
    "By the same call that asks for it"
    from quickcls.backbones.onnx_graph import get_graph, read_graph
    shutil.copytree(exported.path.parent, tmp_path/'graphs')
    monkeypatch.setenv('QUICKCLS_CACHE', str(tmp_path))
    path = tmp_path/'graphs'/exported.path.name
    path.write_bytes(bytes(path.stat().st_size))
    assert get_graph(exported.view).dim == exported.dim and read_graph(exported.digest, exported.view)
    assert path.read_bytes().strip(b'\0')

# the compiled network

@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp('compiled')
    return train(some_parts(root/'parts', slice(12)), out=root/'m', arch='efficientnet_lite0@96', folds=0, quiet=True)

@pytest.fixture
def compiled(parts, tmp_path, monkeypatch):
    "(a classifier, what its network gives, the file of its compiled network), in a cache of its own"
    monkeypatch.setenv('QUICKCLS_CACHE', str(tmp_path/'cache'))
    clf = Classifier.load(parts.path)
    wanted = clf.engine(grey)
    kept, = (tmp_path/'cache'/'compiled').iterdir()
    return clf, wanted, kept

grey = np.full((2, 96, 96, 3), 127, np.uint8)

def assert_same(a, b):
    for name in a: np.testing.assert_array_equal(a[name], b[name])

def test_a_network_is_compiled_once(compiled, monkeypatch):
    "The second time, the ONNX file is not read, and every number is the same"
    clf, wanted, kept = compiled
    monkeypatch.setattr(engines, 'read_network', lambda path: pytest.fail('compiled again'))
    assert_same(Classifier.load(clf.path).engine(grey), wanted)

@pytest.mark.parametrize('precision', ['bf16', 'f16', 'fastest'])
def test_each_precision_has_a_compiled_network(compiled, precision):
    "One precision never answers for another"
    clf, wanted, kept = compiled
    first, second = (Classifier.load(clf.path, precision=precision).engine for _ in range(2))
    assert first.precision == second.precision
    assert_same(first(grey), second(grey))
    assert first.precision == 'f32' or (first(grey)['embedding'] != wanted['embedding']).any()
    assert_same(Classifier.load(clf.path).engine(grey), wanted)

blob_damages = dict(
    empty=lambda p: p.write_bytes(b''),
    zeros=lambda p: p.write_bytes(bytes(p.stat().st_size)),
    truncated=lambda p: os.truncate(p, p.stat().st_size // 2),
    scrambled=lambda p: scrambled(p),
    start=lambda p: scrambled(p, 0),
    folder=lambda p: (p.unlink(), p.mkdir()),
    no_network=lambda p: p.write_bytes(zlib.crc32(b'abc').to_bytes(4, 'big') + b'abc'),
)

@pytest.mark.parametrize('damage', blob_damages.values(), ids=blob_damages)
def test_a_damaged_compiled_network_is_compiled_again(compiled, damage):
    clf, wanted, kept = compiled
    damage(kept)
    assert_same(Classifier.load(clf.path).engine(grey), wanted)

def test_another_network_under_an_old_name(compiled, tmp_path):
    "A folder that was replaced by another classifier answers with its own network"
    clf, wanted, kept = compiled
    other = shutil.copytree(clf.path, tmp_path/'other')
    graph = onnx.load(str(other/'model.onnx'))
    head = next(t for t in graph.graph.initializer if sorted(t.dims) == [len(clf.vocab), clf.head.n_in])
    head.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(head), head.name))
    onnx.save(graph, str(other/'model.onnx'))
    d = json.loads((other/'classifier.json').read_text())
    d['files']['model.onnx'] = hashlib.sha256((other/'model.onnx').read_bytes()).hexdigest()
    (other/'classifier.json').write_text(json.dumps(d))
    assert (Classifier.load(other).engine(grey)['probs'] != wanted['probs']).any() and len(list(kept.parent.iterdir())) == 2

def test_compiled_networks_are_bounded(compiled, monkeypatch):
    "Those that were used last stay"
    clf, wanted, kept = compiled
    monkeypatch.setattr(engines, 'most_kept', int(kept.stat().st_size*1.5))
    os.utime(kept, (1, 1))
    OpenVINOEngine(clf.path/'model.onnx', digest='another')
    newer, = kept.parent.iterdir()
    assert newer != kept

def test_a_cache_that_cannot_be_written(compiled, monkeypatch):
    "The network is compiled each time, as before"
    clf, wanted, kept = compiled
    shutil.rmtree(kept.parent)
    kept.parent.write_text('a file in its place')
    assert_same(Classifier.load(clf.path).engine(grey), wanted)

def test_compiled_networks_are_shown_and_pruned(compiled, capsys):
    clf, wanted, kept = compiled
    cache()
    assert 'compiled networks: 1, 13.' in capsys.readouterr().out
    cache(prune=True)
    assert kept.exists()
    cache(prune=True, days=0)
    assert not kept.exists() and '1 compiled networks' in capsys.readouterr().out

# the store

row_damages = dict(
    short=lambda b: b[:3],
    empty=lambda b: b'',
    long=lambda b: b * 2,
    none=lambda b: None,
    text=lambda b: 'abc',
    nan=lambda b: np.full(3, np.nan, np.float16).tobytes(),
    inf=lambda b: np.array([1, np.inf, 0], np.float16).tobytes(),
    bit=lambda b: bytes([b[0] ^ 1]) + b[1:],
    earlier=lambda b: b[:-4], # without the check, as an earlier version wrote it
)


@pytest.mark.parametrize('damage', row_damages.values(), ids=row_damages)
def test_damaged_rows_are_computed_again(tmp_path, damage):
    "These alone; afterwards all rows are what they were"
    store, graph, items = Store(tmp_path/'s.sqlite'), tiny_graph(), scan_folder(write_folder(tmp_path/'f', cat=5, dog=5))
    embed_items(items, graph, engine=MeanColour(), store=store)
    want = read_items(items.table, graph, engine=MeanColour(), store=store)
    rows = store.db.execute('select key, numbers from embeddings limit 2').fetchall()
    with store.db: store.db.executemany('update embeddings set numbers=? where key=?', [(damage(b), k) for k, b in rows])
    with pytest.raises(QuickclsError, match='damaged'): read_items(items.table, graph, engine=MeanColour(), store=store)
    assert embed_items(items, graph, engine=MeanColour(), store=store).embedded == 2
    np.testing.assert_array_equal(read_items(items.table, graph, engine=MeanColour(), store=store), want)

def test_a_network_without_numbers(tmp_path):
    "NaN is never kept as an embedding"
    with pytest.raises(QuickclsError, match='NaN'): Store(tmp_path/'s.sqlite').put([(b'k', np.array([1, np.nan]))], 'r')

@pytest.fixture
def filled(tmp_path):
    "A closed store of 2,000 rows, and its keys"
    s, keys = Store(tmp_path/'s.sqlite'), [i.to_bytes(2, 'big') for i in range(2000)]
    s.put([(k, np.ones(64)) for k in keys], 'r')
    s.close()
    return tmp_path/'s.sqlite', keys

def use_all(path, keys):
    s = Store(path)
    s.missing(keys, 64)
    return s.get(keys, 64)

@pytest.mark.parametrize(
    'damage',
    [
        lambda p: p.write_bytes(bytes(p.stat().st_size)),
        lambda p: os.truncate(p, p.stat().st_size // 2),
        lambda p: os.truncate(p, 50),
        lambda p: (
            p.unlink()
            or sqlite3.connect(p).executescript('create table embeddings (key blob, other text); insert into embeddings values (1, 2)')
        ),
    ],
    ids=['zeros', 'half', 'header', 'other-table'],
)
def test_a_damaged_store_is_named(filled, damage):
    path, keys = filled
    damage(path)
    with pytest.raises(QuickclsError, match='s.sqlite'): use_all(path, keys)

@pytest.mark.parametrize('name', ['-wal', '-shm'])
def test_garbage_beside_the_store_does_no_harm(filled, name):
    path, keys = filled
    path.with_name(path.name + name).write_bytes(os.urandom(40_000))
    assert use_all(path, keys).shape == (2000, 64)

# other files

@pytest.mark.parametrize('text', ['{', '[]', '3', '{"a": "fast", "b": null, "c": [1], "resnet18@224": 30.5}', '\0\0\0'])
def test_damaged_speeds(own_cache, text):
    from quickcls.features.benchmark import backbone_table, measured_speeds

    own_cache.mkdir()
    (own_cache / 'speeds.json').write_text(text)
    assert measured_speeds() == ({'resnet18@224': 30.5} if 'resnet18' in text else {})
    backbone_table()

def test_a_damaged_classifier_of_a_network(own_cache):
    "Scrambled, empty, of another kind or width: read from the weights again"
    from quickcls.model.auto import nearness
    from quickcls.backbones.registry import parse_views
    from quickcls.core import cache_dir
    from types import SimpleNamespace
    view, = parse_views('efficientnet_lite0')
    graph, x = SimpleNamespace(digest='g', view=view, weights='package', file=None), np.random.default_rng(0).random((2, 1280), np.float32)
    want, path = nearness(x, graph), cache_dir('classifiers')/'g.npz'
    for write in (
        lambda f: f.write(b''),
        lambda f: f.write(b'PK\3\4 no zip'),
        lambda f: np.save(f, np.ones(3)),
        lambda f: np.savez(f, np.ones((2, 3)), np.ones(2)),
        lambda f: np.savez(f, np.full((1000, 1280), np.nan), np.ones(1000)),
    ):
        with open(path, 'wb') as f: write(f)
        assert nearness(x, graph) == pytest.approx(want)

def test_the_mark_of_an_unreachable_hub(own_cache, monkeypatch):
    "A folder of that name, or one from the future, is no reason to fail or to wait for ever"
    from quickcls.backbones import weights as backbones
    monkeypatch.delenv('HF_HUB_OFFLINE')
    monkeypatch.setattr(backbones, 'try_hub', lambda answer: answer.append(True))
    own_cache.mkdir()
    mark = own_cache/'hub-not-reached'
    mark.touch()
    os.utime(mark, (time.time() + 1e6,) * 2)
    assert backbones.hub_reachable() and not mark.exists()
    mark.mkdir()
    os.utime(mark, (0, 0))
    assert backbones.hub_reachable()

# only to be read

def without_rights(*words, **env):
    "A command that may write only where the rights of a file say so; root else may write anywhere"
    words = [sys.executable, '-c', *map(str, words)]
    if os.name != 'posix': pytest.skip('rights of files are another matter on Windows')
    if os.getuid() == 0:
        if not shutil.which('setpriv'): pytest.skip('root without setpriv may write anywhere')
        rights = '-dac_override,-dac_read_search'
        words = ['setpriv', f'--bounding-set={rights}', f'--inh-caps={rights}', *words]
    return subprocess.run(words, cwd=repo, env=os.environ | {'PYTHONPATH': str(repo)} | env, capture_output=True, text=True, timeout=300)

@pytest.fixture
def sealed():
    "Function: nothing in a folder, nor the folder itself, can be written; undone in the end"
    folders = []
    def seal(folder):
        folders.append(folder)
        for p in (*folder.rglob('*'), folder): p.chmod(0o555 if p.is_dir() else 0o444)
    yield seal
    for f in folders:
        for p in (f, *f.rglob('*')): p.chmod(0o755 if p.is_dir() else 0o644)

_train = """
import sys, time
from quickcls.all import QuickclsError, train
from quickcls.backbones.registry import parse_views
from quickcls.backbones.onnx_graph import get_graph
folder, out, more = sys.argv[1:]
print(train(folder, out=out, arch='efficientnet_lite0@64', folds='0', offline=True, quiet=True).run['from_store'])
def train_again(): train(more, out=out + '2', arch='efficientnet_lite0@64', folds='0', offline=True, quiet=True)
def another_size(): get_graph(parse_views('efficientnet_lite0@96')[0])
for work in (train_again, another_size):
    try: work()
    except QuickclsError as e: print(e)
"""


@pytest.mark.slow
def test_a_cache_that_can_only_be_read_is_enough(exported, tmp_path, monkeypatch, sealed):
    """With the graph and all embeddings there, training writes nothing into it; with other images, or another size, a
    line names the folder and the variable"""
    from quickcls.features.embed import Embeddings
    folder, more, cache = some_parts(tmp_path/'parts', slice(10)), some_parts(tmp_path/'more', slice(8, 13)), tmp_path/'cache'
    monkeypatch.setenv('QUICKCLS_CACHE', str(cache))
    shutil.copytree(exported.path.parent, cache/'graphs')
    embeddings = Embeddings([exported])
    embeddings.embed(scan_folder(folder))
    embeddings.store.close()
    sealed(cache)
    p = without_rights(_train, folder, tmp_path/'m', more)
    assert p.returncode == 0, p.stderr
    from_store, *refused = p.stdout.splitlines()
    assert from_store == '20' and (tmp_path/'m'/'model.onnx').is_file() and not (tmp_path/'m2').exists()
    assert len(refused) == 2 and all(str(cache) in line and 'QUICKCLS_CACHE' in line for line in refused)

_read = """
import sys
from quickcls.features.store import Store, cache
from quickcls.all import QuickclsError
import numpy as np
s, keys = Store(sys.argv[1]), [i.to_bytes(2, 'big') for i in range(2000)]
print(len(s.missing(keys, 64)), s.get(keys, 64).sum(), len(s.table()))
s.put([], 'r')
try: s.put([(b'new', np.ones(64))], 'r')
except QuickclsError as e: print(e)
"""

@pytest.mark.parametrize('killed', [False, True], ids=['closed', 'killed'])
def test_a_store_that_can_only_be_read(tmp_path, filled, sealed, python, killed):
    "Closed well, or with the log of a process that was killed"
    path, folder = filled[0], tmp_path/'sealed'
    folder.mkdir()
    if killed:
        with sqlite3.connect(path) as db: db.execute('delete from embeddings')
        p = python(
            "import os, sys, signal, numpy as np\nfrom quickcls.features.store import Store\ns = Store(sys.argv[1])\n"
            "s.put([(i.to_bytes(2, 'big'), np.ones(64)) for i in range(2000)], 'r'); os.kill(os.getpid(), signal.SIGKILL)",
            path,
            start=True,
        )
        p.communicate()
        assert path.with_name('s.sqlite-wal').stat().st_size
    for f in tmp_path.glob('s.sqlite*'): f.rename(folder/f.name)
    sealed(folder)
    p = without_rights(_read, folder/'s.sqlite')
    assert p.returncode == 0, p.stderr
    numbers, refused = p.stdout.splitlines()
    assert numbers == '0 128000.0 1' and str(folder) in refused and 'QUICKCLS_CACHE' in refused

# what a killed process leaves

_write = """
import sys, time, pathlib
from quickcls import core
out, when = pathlib.Path(sys.argv[1]), sys.argv[2]
def wait(): print('there', flush=True); time.sleep(100)
if when == 'file':
    with core.whole_file(out) as f: f.write_text('half'); wait()
rename, n = pathlib.Path.rename, []
def slow(self, to):
    n.append(1)
    if when == 'old' and len(n) == 1 or when == 'new' and len(n) == 2: wait()
    return rename(self, to)
pathlib.Path.rename = slow
rmtree = core.shutil.rmtree
if when == 'removing': core.shutil.rmtree = lambda p, *a, **k: wait() if str(p).endswith('-old') else rmtree(p, *a, **k)
with core.write_whole(out, True) as w:
    (w/'classifier.json').write_text('new')
    if when == 'writing': wait()
"""

def start(python, out, when):
    "A process that writes, and has come so far"
    p = python(_write, out, when, start=True)
    assert p.stdout.readline() == 'there\n', p.stderr.read()
    return p

def kill(p):
    p.send_signal(signal.SIGKILL)
    p.communicate()


def model(folder, text):
    folder.mkdir(parents=True)
    (folder / 'classifier.json').write_text(text)
    return folder

def names(folder): return sorted(p.name for p in folder.iterdir())

@pytest.mark.parametrize('when,left', [('writing', 'before'), ('old', 'before'), ('new', 'new'), ('removing', 'new')])
def test_what_a_killed_save_left(tmp_path, python, when, left):
    "Removed by the next one; the old classifier or the new one is there, whenever it was killed"
    out = model(tmp_path/'models'/'pets', 'before')
    p = start(python, out, when)
    remove_leftovers(out.parent)
    assert len(names(out.parent)) == 2 # it is still at work: nothing is taken from it
    kill(p)
    check_free(out, True)
    assert names(out.parent) == ['pets'] and (out/'classifier.json').read_text() == left
    with write_whole(out, True) as w: (w/'classifier.json').write_text('next')
    assert names(out.parent) == ['pets'] and (out/'classifier.json').read_text() == 'next'

def test_a_killed_save_is_finished_by_loading(tmp_path, python):
    "A classifier that had not its name yet is found under it"
    from quickcls.all import Classifier
    out = model(tmp_path/'pets', 'before')
    kill(start(python, out, 'new'))
    assert not out.exists()
    with pytest.raises(QuickclsError, match='classifier.json'): Classifier.load(out) # this one holds a word alone
    assert names(tmp_path) == ['pets'] and (out/'classifier.json').read_text() == 'new'

def test_what_a_killed_export_left(tmp_path, python):
    "A file of the cache folder, removed when another process writes there"
    kill(start(python, tmp_path/'g.onnx', 'file'))
    assert len(names(tmp_path)) == 1
    with whole_file(tmp_path/'h.onnx') as f: f.write_text('whole')
    assert names(tmp_path) == ['h.onnx']

def test_both_stay_where_the_move_cannot_be_finished(tmp_path, monkeypatch):
    "The only two copies of a classifier are not removed because neither can take its name"
    new = model(tmp_path/'.pets-quickcls-k3j2h1g0', 'new')
    old = model(tmp_path/'.pets-quickcls-k3j2h1g0-old', 'before')
    def fail(self, to): raise PermissionError(13, 'Permission denied')

    with monkeypatch.context() as m:
        m.setattr(Path, 'rename', fail)
        remove_leftovers(tmp_path)
    assert new.is_dir() and old.is_dir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ['pets'] and (tmp_path/'pets'/'classifier.json').read_text() == 'new'

def test_a_name_that_is_taken_meanwhile(tmp_path):
    "Two trainings into one folder: the first keeps it, and the second says so; an empty folder may be filled"
    out = tmp_path/'pets'
    out.mkdir()
    with pytest.raises(QuickclsError, match='somebody else'), write_whole(out) as second:
        (second/'classifier.json').write_text('second')
        with write_whole(out) as first: (first/'classifier.json').write_text('first')
    assert names(tmp_path) == ['pets'] and (out/'classifier.json').read_text() == 'first'

def test_only_leftovers_are_removed(tmp_path, monkeypatch):
    "Other hidden files stay; where locks are not known, so does what is not a day old"
    for name in ('.pets-personal', '.quickcls', '.pets-old', 'quickcls-k3j2h1g0', '.quickcls-k3j2h1g0.onnx'):
        (tmp_path / name).write_text('x')
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ['.pets-old', '.pets-personal', '.quickcls', 'quickcls-k3j2h1g0']
    monkeypatch.setitem(sys.modules, 'fcntl', None) # as on Windows
    old, young = tmp_path/'.quickcls-aaaaaaaa.json', tmp_path/'.quickcls-bbbbbbbb.json'
    for p in (old, young): p.write_text('x')
    os.utime(old, (time.time() - 90_000,)*2)
    remove_leftovers(tmp_path)
    assert young.exists() and not old.exists()

# the end of a program

def test_a_program_ends_after_the_library_that_it_loads(tmp_path, python):
    "A library that is loaded ahead, in another thread, while Python ends would crash it; those after it are not begun"
    (tmp_path/'slow.py').write_text('import time\ntime.sleep(1)\nprint("loaded", flush=True)')
    (tmp_path/'later.py').write_text('print("not needed")')
    code = 'import sys; sys.path.insert(0, sys.argv[1]); from quickcls.train.steps import import_ahead; import_ahead("slow", "later")'
    assert python(code, tmp_path).split() == ['loaded']
