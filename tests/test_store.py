"Each image passes the backbone once: what is kept, under which key, and what survives a crash"
import os, signal, sqlite3, threading, time
from types import SimpleNamespace
import numpy as np
import pytest
from tests.helpers import MeanColour, as_bytes, broken_images, image, tiny_graph, write_folder
from quickcls.core import QuickclsError
from quickcls.data.items import scan_folder
from quickcls.features.embed import commit_every, embed_items, embed_images, read_items
from quickcls.features.store import Store, recipe_of, store_key
from quickcls.data.images import load_image

@pytest.fixture
def store(tmp_path):
    s = Store(tmp_path/'store.sqlite')
    yield s
    s.close()

def embed(folder, store, graph=None, engine=None): # (items, Pass)
    items = scan_folder(folder)
    return items, embed_items(items, graph or tiny_graph(), engine=engine or MeanColour(), store=store)

def right(items, store, graph=None):
    "Are the stored rows those of the images, in the order of the table?"
    graph = graph or tiny_graph()
    got = read_items(items.table, graph, engine=MeanColour(), store=store)
    want = [np.asarray(load_image(p, graph.view.size, graph.view.resize)).mean((0, 1))/255 for p in items.table.path]
    return got.dtype == np.float32 and np.allclose(got, want, atol=1e-3)

def count(path): return sqlite3.connect(path).execute('select count(*) from embeddings').fetchone()[0]

# once

def test_each_image_once(tmp_path, store):
    "The second pass computes nothing, and rows come in the order that is asked for"
    folder = write_folder(tmp_path/'f', cat=13, dog=12)
    items, done = embed(folder, store)
    assert (done.embedded, done.from_store) == (25, 0) and right(items, store)
    items, done = embed(folder, store)
    assert (done.embedded, done.from_store, done.images_per_s) == (0, 25, None)
    items.table = items.table.sample(frac=1, random_state=0)
    assert right(items, store)

def test_ten_new_images_are_ten(tmp_path, store):
    "Add ten images, and ten are embedded"
    embed(write_folder(tmp_path/'f', cat=10, dog=10), store)
    items, done = embed(write_folder(tmp_path/'f', start=10, cat=5, dog=5), store)
    assert (done.embedded, done.from_store) == (10, 20) and right(items, store)

def test_twins_are_computed_once(tmp_path, store):
    "Copies share a row"
    folder = write_folder(tmp_path/'f', cat=5, dog=5)
    for p in sorted(folder.glob('*/*')): p.with_name(f'copy {p.name}').write_bytes(p.read_bytes())
    items, done = embed(folder, store)
    assert (len(items), done.embedded) == (20, 10) and right(items, store)

def test_a_replaced_image_is_new(tmp_path, store):
    "The same path with other content has another embedding, whatever the file's date says"
    folder = write_folder(tmp_path/'f', cat=3, dog=3)
    embed(folder, store)
    p = folder/'cat'/'001.png'
    was = p.stat()
    p.write_bytes(as_bytes(image(77, 24, 24), 'PNG'))
    os.utime(p, ns=(was.st_atime_ns, was.st_mtime_ns))
    items, done = embed(folder, store)
    assert done.embedded == 1 and right(items, store)

# keys

def test_keys_name_all_that_matters():
    "Another size, resize, precision, network or augmentation has another key; nothing else does"
    def key(graph, engine=MeanColour(), **kw): return store_key('ab'*32, recipe_of(graph, engine.precision, **kw))
    half = SimpleNamespace(precision='bf16')
    keys = [
        key(tiny_graph()),
        key(tiny_graph(32)),
        key(tiny_graph(resize='crop')),
        key(tiny_graph(resize='pad')),
        key(tiny_graph(), half),
        key(tiny_graph(digest='other')),
        key(tiny_graph(), augment='aug:1:0'),
        store_key('cd' * 32, recipe_of(tiny_graph(), MeanColour().precision)),
    ]
    assert len(set(keys)) == len(keys) and key(tiny_graph()) == keys[0]
    assert {len(k) for k in keys} == {16}

def test_another_size_is_computed_anew(tmp_path, store):
    "Two sizes and two resizes live in one store side by side"
    folder = write_folder(tmp_path/'f', cat=4, dog=4)
    for g in (tiny_graph(16), tiny_graph(32), tiny_graph(16, 'pad')):
        items, done = embed(folder, store, g)
        assert done.embedded == 8 and right(items, store, g)
    assert len(store.table()) == 3 and store.table().images.sum() == 24

def test_numbers_that_16_bits_cannot_hold(store):
    "Large numbers are kept at the edge of 16-bit floats, never as infinity"
    store.put([(b'k', np.array([1e9, -1e9, 1.5], np.float32))], 'r')
    assert store.get([b'k'], 3).tolist() == [[65504, -65504, 1.5]]

# pruning and damage

def test_pruning_goes_by_use(tmp_path, store):
    "What was not used for so many days goes; what was read yesterday stays"
    store.put([(bytes([i]), np.ones(3)) for i in range(6)], 'r')
    with store.db: store.db.execute('update embeddings set used=used-10*86400')
    store.get([b'\0', b'\1'], 3)
    assert store.prune(days=5) == 4 and store.prune(days=5) == 0 and count(store.path) == 2
    with pytest.raises(QuickclsError, match='pruned'): store.get([b'\5'], 3)
    assert store.prune(days=0) == 2

@pytest.mark.parametrize(
    'damage', [lambda p: p.write_bytes(b'not a database' * 200), lambda p: p.unlink() or p.mkdir()], ids=['garbage', 'folder']
)
def test_a_store_that_cannot_be_opened(tmp_path, damage):
    "One line with the path and what to do"
    Store(path := tmp_path/'s.sqlite').close()
    damage(path)
    with pytest.raises(QuickclsError, match='s.sqlite'): Store(path)

def test_a_store_with_damaged_pages(tmp_path):
    "Pages overwritten in the middle: every method says so in one line"
    path = tmp_path/'s.sqlite'
    s = Store(path)
    keys = [i.to_bytes(2, 'big') for i in range(2000)]
    s.put([(k, np.ones(64)) for k in keys], 'r')
    s.close()
    with open(path, 'r+b') as f:
        f.seek(8192)
        f.write(b'\xff' * (path.stat().st_size - 16384))
    s = Store(path)
    for use in (
        lambda: s.missing(keys),
        lambda: s.get(keys, 64),
        lambda: s.put([(b'new', np.ones(64))] * 1, 'r'),
        lambda: s.table(),
        lambda: s.prune(0),
    ):
        with pytest.raises(QuickclsError, match='remove that file'): use()

def test_damaged_images_are_passed(tmp_path, store):
    "Damaged images move to `skipped` with a reason, copies of them too, wherever they stand, and the pass goes on"
    folder, (jpg, png) = write_folder(tmp_path/'f', cat=20, dog=20), broken_images().values()
    for name, data in (('cat/000.jpg', jpg), ('cat/010.jpg', png), ('dog/zz.jpg', jpg)): (folder/name).write_bytes(data)
    items, done = embed(folder, store)
    assert (done.embedded, len(items)) == (40, 40) and right(items, store)
    assert [s.path.split('/')[-1] for s in items.skipped] == ['000.jpg', '010.jpg', 'zz.jpg'] and all(
        'damaged' in s.reason for s in items.skipped
    )


def test_an_image_that_is_gone(tmp_path, store):
    "Removed between the scan and the pass: skipped, with the reason"
    folder = write_folder(tmp_path/'f', cat=4, dog=4)
    items = scan_folder(folder)
    (folder/'cat'/'002.png').unlink()
    done = embed_items(items, tiny_graph(), engine=MeanColour(), store=store)
    assert done.embedded == 7 and 'No such file' in items.skipped[0].reason

def test_nothing_to_do(store):
    "No images, no work"
    assert embed_images([], None, engine=MeanColour(), store=store, recipe='r').embedded == 0

# processes

_embed = """
import sys
from tests.helpers import MeanColour, tiny_graph
from quickcls.data.items import scan_folder
from quickcls.features.embed import embed_items
from quickcls.features.store import Store
done = embed_items(scan_folder(sys.argv[1]), tiny_graph(), engine=MeanColour(float(sys.argv[3])), store=Store(sys.argv[2]))
print(done.embedded, done.from_store)
"""

def test_two_processes_at_once(tmp_path, python):
    "Two passes over one folder into one new store: both end well, and the rows are right"
    folder, path = write_folder(tmp_path/'f', cat=120, dog=120), tmp_path/'s.sqlite'
    both = [python(_embed, folder, path, .01, start=True) for _ in range(2)]
    for p in both:
        out, err = p.communicate(timeout=120)
        assert p.returncode == 0, err
    items = scan_folder(folder)
    assert count(path) == 240 and right(items, Store(path))

def test_a_writer_waits_for_another(tmp_path, store):
    "While another process writes, reading goes on at once, and writing waits until it is done"
    store.put([(b'a', np.ones(3))], 'r')
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    other.execute('begin exclusive')
    end = threading.Timer(.5, other.execute, ('commit',))
    end.start()
    started = time.perf_counter()
    assert store.missing([b'a', b'b']) == [b'b'] and time.perf_counter() - started < .3
    store.put([(b'b', np.ones(3))], 'r')
    assert time.perf_counter() - started > .3 and store.missing([b'a', b'b']) == []

def test_two_open_a_new_store_at_once(tmp_path):
    "A store that another process is just making is waited for"
    other = sqlite3.connect(tmp_path/'s.sqlite', isolation_level=None, check_same_thread=False)
    other.execute('begin immediate')
    threading.Timer(.5, other.execute, ('commit',)).start()
    Store(tmp_path/'s.sqlite').close()

def test_a_killed_pass_keeps_what_was_committed(tmp_path, python):
    "kill -9 in the middle loses less than a commit; the next pass computes the rest alone"
    folder, path = write_folder(tmp_path/'f', cat=200, dog=200), tmp_path/'s.sqlite'
    Store(path).close()
    p = python(_embed, folder, path, .1, start=True)
    until = time.time() + 60
    while count(path) < commit_every and time.time() < until and p.poll() is None: time.sleep(.02)
    p.send_signal(signal.SIGKILL)
    p.communicate()
    kept = count(path)
    assert commit_every <= kept < 400 and p.returncode == -signal.SIGKILL
    assert python(_embed, folder, path, 0).split() == [str(400-kept), str(kept)]
    assert right(scan_folder(folder), Store(path))

_memory = """
import resource, sys, numpy as np
from tests.helpers import MeanColour
from quickcls.features.embed import embed_images
from quickcls.features.store import Store
store, load = Store(sys.argv[1]), lambda p: np.full((512, 512, 3), p % 256, np.uint8)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
def run(a, b): embed_images([(i.to_bytes(16, 'big'), i) for i in range(a, b)], load, engine=MeanColour(.002), store=store, recipe='r')
run(0, 100); before = peak(); run(100, 600); print(peak() - before)
"""

def test_memory_does_not_grow(tmp_path, python):
    "500 images of 0.8 MB wait for a slow engine, not in memory: decoding runs only a little ahead"
    assert float(python(_memory, tmp_path/'s.sqlite')) < 40 # MB; all at once would be 400
