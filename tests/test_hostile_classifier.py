"A classifier's folder from a stranger: it cannot run on for ever, read elsewhere, write elsewhere, or end in a traceback"
import json, os, shutil, time
from pathlib import Path
import numpy as np, onnx, pytest
from onnx import TensorProto, helper, numpy_helper
from quickcls.model.classifier import Classifier
from quickcls.core import QuickclsError
from quickcls.saved.folder import digests
from tests.helpers import image, some_parts

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "(folder of a classifier with thumbnails, folder of its images)"
    from quickcls.report.thumbnails import pack_images
    from quickcls.train.pipeline import train
    root = tmp_path_factory.mktemp('hostile')
    some_parts(root/'parts', slice(0, 16))
    clf = train(str(root/'parts'), out=str(root/'model'), arch='efficientnet_lite0', quiet=True)
    pack_images(clf.path, say=lambda s: None)
    return clf.path, root/'parts'

@pytest.fixture
def folder(trained, tmp_path): return shutil.copytree(trained[0], tmp_path/'model')

def image_of(trained): return sorted(trained[1].rglob('*.jpg'))[0]

def change_json(path, change):
    "Change what a JSON file says"
    d = json.loads(path.read_text())
    change(d)
    path.write_text(json.dumps(d))

def without_digests(folder): change_json(folder/'classifier.json', lambda d: d.pop('files'))

def refused(call, *parts, seconds=10):
    "The one line that a call ends in"
    started = time.process_time() # of computing: a shared machine may take long
    with pytest.raises(QuickclsError) as e: call()
    said = str(e.value)
    assert '\n' not in said and len(said) <= 400 and time.process_time() - started < seconds, said
    for p in parts: assert p in said, said
    return said

# model.onnx

def loop(m):
    "2^62 rounds, whose result is added to the embedding"
    one, rounds, go = (
        numpy_helper.from_array(np.array(v), n)
        for v, n in ((np.float32(0), 'loop/start'), (np.int64(2**62), 'loop/rounds'), (True, 'loop/go'))
    )
    info = helper.make_tensor_value_info
    body = helper.make_graph([helper.make_node('Identity', ['go_in'], ['go_out']), helper.make_node('Sin', ['x_in'], ['x_out'])], 'body',
                             [info('i', 7, []), info('go_in', 9, []), info('x_in', 1, [])], [info('go_out', 9, []), info('x_out', 1, [])])
    m.graph.initializer.extend([one, rounds, go])
    m.graph.node.extend([helper.make_node('Loop', ['loop/rounds', 'loop/go', 'loop/start'], ['loop/out'], body=body)])

def external(m):
    t = m.graph.initializer[0]
    t.ClearField('raw_data')
    t.data_location = TensorProto.EXTERNAL
    e = t.external_data.add()
    e.key, e.value = 'location', '../../../../etc/passwd'

def function(m):
    f = helper.make_function('mine', 'twice', ['x'], ['y'], [helper.make_node('Add', ['x', 'x'], ['y'])], [helper.make_opsetid('', 20)])
    m.functions.append(f)

def bomb(m):
    m.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20], np.int64), 'bomb/shape'))
    m.graph.node.append(helper.make_node('ConstantOfShape', ['bomb/shape'], ['bomb/out']))

def claims(m): m.graph.initializer[0].dims[0] = 2**40
def future(m): m.opset_import[0].version = 99
def domain(m): m.graph.node[0].domain = 'com.example'
def operator(m): m.graph.node[0].op_type = 'RandomNormal'
def fewer(m): del m.graph.output[0]
def classes(m): m.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
def sides(m): m.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**31
def sparse(m): m.graph.sparse_initializer.add()

def doubling(m):
    "Thirty joins of a result with itself: a billion times as much at the end, and no constant that tells"
    last = 'embedding'
    for i in range(30):
        m.graph.node.append(helper.make_node('Concat', [last, last], [f'double/{i}'], axis=1))
        last = f'double/{i}'
    m.graph.node.append(helper.make_node('ReduceMax', [last], ['double/most'], keepdims=1))
    next(n for n in m.graph.node if n.output[0] == 'probs').output[0] = 'before'
    m.graph.node.append(helper.make_node('Add', ['before', 'double/most'], ['probs']))

@pytest.mark.parametrize(
    'change, part',
    [
        (doubling, 'per image'),
        (loop, 'Loop'),
        (external, 'another file'),
        (function, 'operators of its own'),
        (bomb, 'ConstantOfShape'),
        (claims, 'claims'),
        (future, '99'),
        (domain, 'com.example'),
        (operator, 'RandomNormal'),
        (fewer, 'no output probs'),
        (classes, 'probs'),
        (sides, '224'),
        (sparse, 'sparse'),
    ],
    ids=lambda v: getattr(v, '__name__', None),
)
def test_a_graph_that_quickcls_never_writes_is_not_run(folder, change, part):
    m = onnx.load(str(folder/'model.onnx'))
    change(m)
    (folder/'model.onnx').write_bytes(m.SerializeToString())
    without_digests(folder)
    refused(lambda: Classifier.load(folder).predict(np.zeros((64, 64, 3), np.uint8)), 'model.onnx', part)

@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'no graph',
        b'<?xml version="1.0"?><net name="x" version="11"><layers/></net>',
        b'\x08\x08',
        bytes(10_000),
        b'ir_version: 8 graph { }',
    ],
)
def test_other_files_under_the_name_of_a_graph(folder, data):
    (folder/'model.onnx').write_bytes(data)
    refused(lambda: Classifier.load(folder), 'model.onnx')

def test_every_length_of_a_graph_is_safe_to_look_at(folder):
    "Cut anywhere, in the middle of a number or a name"
    data, clf = (folder/'model.onnx').read_bytes(), Classifier.load(folder)
    from quickcls.saved.graph_check import check_graph_file
    for n in (*range(1, 60), *range(len(data) - 2000, len(data), 37)):
        (folder/'model.onnx').write_bytes(data[:n])
        refused(lambda: check_graph_file(folder/'model.onnx', len(clf.vocab), clf.head.n_in, [224]), 'model.onnx')

def test_a_file_that_changed_is_noticed(folder):
    """Graph and arrays are those that were written; a classifier without digests, as earlier versions wrote it, still
    loads, and so does one whose tables were edited"""
    kept = json.loads((folder/'classifier.json').read_text())['files']
    assert kept == digests(folder) and set(kept) == {'model.onnx', 'weights.safetensors'}
    (folder/'metrics.json').write_text('{}')
    Classifier.load(folder)
    m = onnx.load(str(folder/'model.onnx'))
    m.producer_name = 'another'
    (folder/'model.onnx').write_bytes(m.SerializeToString())
    refused(lambda: Classifier.load(folder), 'model.onnx', 'SHA-256')
    without_digests(folder)
    assert Classifier.load(folder).vocab == ['defect', 'ok']

# images that tables name

class Watch:
    "What is opened, started and asked of the network while a `with` of it runs; one for the process, since a hook stays"
    def __init__(self): self.on, self.opened, self.other = False, [], []
    def hook(self, event, args):
        if not self.on: return
        if event == 'open' and isinstance(args[0], (str, bytes, os.PathLike)):
            self.opened.append((os.path.realpath(os.fsdecode(args[0])), args[1] if isinstance(args[1], str) else None, args[2]))
        elif event in (
            'subprocess.Popen',
            'os.system',
            'os.exec',
            'os.posix_spawn',
            'socket.connect',
            'socket.getaddrinfo',
            'pty.spawn',
            'os.fork',
        ):
            self.other.append(event)

    def __enter__(self):
        self.on, self.opened, self.other = True, [], []
        return self

    def __exit__(self, *_): self.on = False

@pytest.fixture(scope='session')
def watch():
    import sys
    w = Watch()
    sys.addaudithook(w.hook)
    return w

def thumbs_of(page):
    import re

    return {
        k: v
        for k, v in json.loads(re.search('<script type="application/json" id="thumbs">(.*?)</script>', page.read_text(), re.S)[1]).items()
        if v
    }


def rename_paths(folder, change):
    "Change every path of the classifier's tables and maps"
    import pandas as pd
    for name in ('predictions.csv', 'cross_validation.csv', 'neighbours.csv'):
        if not (folder/name).exists(): continue
        t = pd.read_csv(folder/name, dtype=str, keep_default_na=False)
        for c in {'path', 'nearest'} & set(t.columns): t[c] = t[c].map(change)
        t.to_csv(folder/name, index=False)
    change_json(folder/'focus.json', lambda d: [p.update(path=change(p['path'])) for p in d['pictures']])

@pytest.mark.parametrize('kind', ['absolute', 'up', 'other content', 'pipe', 'device', 'link'])
def test_a_table_shows_nothing_of_the_reader(trained, folder, tmp_path, watch, kind):
    """Paths that lead out of the data folder are not opened, whatever content they are said to have; within it only the
    known content is shown"""
    from quickcls.explain.heatmap import explain
    from quickcls.report.thumbnails import Packed, pack_images
    from quickcls.report.page import write_report
    from quickcls.model.update import Teacher
    secret, data = tmp_path/'secret.jpg', tmp_path/'parts'
    shutil.copytree(trained[1], data)
    shutil.copy(image_of(trained), secret)
    if kind == 'other content': image(5, 300, 300).save(secret)
    for p in data.rglob('*.jpg'):
        if kind in ('pipe', 'device', 'link', 'other content'): p.unlink()
        if kind == 'pipe': os.mkfifo(p)
        if kind == 'device': p.symlink_to('/dev/zero')
        if kind in ('link', 'other content'): p.symlink_to(secret)
    named = {'absolute': lambda p: str(secret), 'up': lambda p: f'{data}/ok/../../secret.jpg'}.get(
        kind, lambda p: p.replace(str(trained[1]), str(data))
    )
    for name in ('classifier.json', 'metrics.json'):
        change_json(folder / name, lambda d: d['data'].update(folder=str(data), fingerprint='0' * 16))
    rename_paths(folder, named)
    (folder / 'pictures.zip').unlink()
    (folder / 'report.html').unlink()
    with watch:
        page = write_report(folder, say=lambda s: None)
        explain(str(folder), str(image_of(trained)), out=str(tmp_path/'heat.png'))
        Classifier.load(folder).evaluate().plot_top_losses()
        try: pack_images(folder, say=lambda s: None)
        except QuickclsError: pass
        try: Teacher.of(Classifier.load(folder), tmp_path/'corrections', say=lambda s: None)
        except QuickclsError: pass
    shown = set(thumbs_of(page)) | set(Packed(folder).index)
    if kind in ('absolute', 'up'): assert str(secret) not in [p for p, *_ in watch.opened]
    assert kind == 'link' and len(shown) <= 3 or shown == set(), (
        kind
    )  # a link to the very content that was known is fine: data sets are made of links
    assert not [p for p, *_ in watch.opened if p.startswith('/dev/zero') or kind == 'pipe' and p.startswith(str(data))]

def test_a_report_finds_its_images_from_anywhere(trained, folder, tmp_path, monkeypatch):
    "This machine knows where they lay, whatever the current folder is and wherever the classifier went"
    from quickcls.report.page import write_report
    from quickcls.train.pipeline import train
    monkeypatch.chdir(trained[1].parent)
    clf = train('parts', out=str(tmp_path/'relative'), arch='efficientnet_lite0', quiet=True)
    before = (clf.path/'report.html').read_bytes()
    monkeypatch.chdir(tmp_path)
    shutil.move(tmp_path/'relative', tmp_path/'elsewhere')
    said = []
    assert write_report(tmp_path/'elsewhere', name='relative', say=said.append).read_bytes() == before and said == []

def test_a_report_keeps_the_thumbnails_that_it_has(trained, folder, tmp_path):
    "Images that are gone stay on the page that is written again, and one line says how many; with --no-images none stay"
    from quickcls.report.page import write_report
    before = thumbs_of(folder/'report.html')
    assert len(before) >= 9
    trained[1].rename(trained[1].with_name('moved'))
    try:
        said = []
        again = thumbs_of(write_report(folder, say=said.append))
        assert again == before and len(said) == 1 and 'data=' in said[0] and '\n' not in said[0] and 'kept' in said[0]
        elsewhere = thumbs_of(write_report(folder, out=tmp_path/'new.html', say=said.append))
        assert elsewhere == before and 'kept' in said[1] # those of the report in the folder
        page = (folder/'report.html').read_text()
        uri = next(iter(before.values()))
        (folder/'report.html').write_text(page.replace(uri, 'data:text/html,<script>alert(1)</script>'.replace('<', '\\u003c')))
        assert 'alert(1)' not in write_report(folder, say=said.append).read_text()
        assert thumbs_of(write_report(folder, images=False, say=said.append)) == {}
        assert thumbs_of(write_report(folder, say=said.append)) # those that were packed with the classifier
        (folder/'pictures.zip').unlink()
        write_report(folder, images=False, say=said.append)
        assert thumbs_of(write_report(folder, say=said.append)) == {}
    finally: trained[1].with_name('moved').rename(trained[1])

# any file, changed in any way

evil = [
    None,
    True,
    -1,
    0,
    7,
    2**70,
    -(2**70),
    1e308,
    float('nan'),
    float('inf'),
    0.5,
    '',
    'x',
    'défaut',
    '\ud800',
    '\0',
    '../' * 30 + 'etc/passwd',
    '/etc/passwd',
    '/dev/zero',
    'a\nb',
    '<img src=x onerror=alert(1)>',
    'x' * 5000,
    [],
    {},
    [[]],
    [1, 'a', None],
    {'a': 1},
    [[[[1]]]],
    ['ok', 5],
    [0.9, 0.1],
    'nan',
    '1e999',
    'C:\\Windows\\x',
    '//host/share/x.jpg',
    'hf-hub:evil/model',
    ['a'] * 50,
]


def deep(n): return json.loads('['*n + ']'*n)

def places(value, at=()):
    "Every place in a JSON value"
    for k in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, k)
        yield from places(value[k], (*at, k))

def mutate_json(path, rng):
    d = json.loads(path.read_text())
    *above, last = rng.choice(list(places(d)) or [('x',)])
    inner = d
    for k in above: inner = inner[k]
    how = rng.randrange(6)
    if how == 0:
        del inner[last]
        what = 'gone'
    elif how == 1 and isinstance(inner, list):
        inner.extend([inner[last]] * rng.choice([1, 3, 500]))
        what = 'repeated'
    elif how == 2:
        inner[last] = deep(rng.choice([5, 39, 45, 300]))
        what = 'deep'
    elif how == 3 and isinstance(inner[last], (int, float)):
        inner[last] = inner[last] * rng.choice([-1, 1e6, 0.001, 1e300]) + rng.choice([0, 1, 0.5])
        what = 'another number'
    else:
        inner[last] = rng.choice(evil)
        what = repr(inner[last])[:40]
    path.write_text(json.dumps(d))
    return '.'.join(map(str, (*above, last))) + ': ' + what

def mutate_csv(path, rng):
    import csv
    rows = list(csv.reader(open(path, newline='')))
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
    value = str(rng.choice([v for v in evil if v != '\ud800']))
    how = rng.randrange(7)
    if how == 0: rows = [r[:j] + r[j+1:] for r in rows]
    elif how == 1: rows[i] = rows[i][:j]
    elif how == 2: rows = rows[:rng.choice([0, 1, 2])]
    elif how == 3: rows[i] = rows[i] + [value]*rng.choice([1, 50])
    elif how == 4:
        for r in rows[1:]: r[j] = value
    else: rows[i][j] = value
    with open(path, 'w', newline='', encoding='utf-8', errors='replace') as f: csv.writer(f).writerows(rows)
    return f'way {how}, row {i}, column {j}: {value[:30]!r}'

def mutate_arrays(path, rng):
    from safetensors.numpy import load_file, save_file
    arrays = load_file(path)
    name = rng.choice(sorted(arrays))
    a, how = arrays[name], rng.randrange(8)
    if how == 0: del arrays[name]
    elif how == 1: arrays[name] = a.ravel()
    elif how == 2: arrays[name] = a[:max(0, len(a) - rng.choice([1, 2, len(a)]))]
    elif how == 3: arrays[name] = a.astype(rng.choice([np.int64, np.float64, np.uint8, np.bool_, np.float16]))
    elif how == 4: arrays[name] = (a.astype(np.float32)*np.float32('inf' if rng.random() < .5 else 'nan')).astype(a.dtype)
    elif how == 5: arrays[name] = -a
    elif how == 6: arrays[name] = a[None]
    else: arrays[name] = np.zeros_like(a)
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)
    return f'{name}, way {how}'

def mutate_graph(path, rng):
    m = onnx.load(str(path))
    how, node = rng.randrange(6), rng.choice(m.graph.node)
    if how == 0: node.op_type = rng.choice(['Loop', 'If', 'Scan', 'NonZero', 'Relu', 'Identity', 'Add', 'Expand', 'Tile', ''])
    elif how == 1: del node.input[:1]
    elif how == 2: m.graph.initializer[rng.randrange(len(m.graph.initializer))].dims[:] = [rng.choice([0, 1, 3, 2**40, -1])]
    elif how == 3: m.graph.node.remove(node)
    elif how == 4: del m.graph.initializer[rng.randrange(len(m.graph.initializer))]
    else: m.graph.output[rng.randrange(3)].type.tensor_type.shape.dim[1].dim_value = rng.choice([0, 1, 2, 3584, 2**62])
    path.write_bytes(m.SerializeToString())
    return f'way {how}, {node.op_type}'

def mutate_zip(path, rng):
    import zipfile
    with zipfile.ZipFile(path) as z: members = {n: z.read(n) for n in z.namelist()}
    index, how = json.loads(members['index.json']), rng.randrange(4)
    if how == 0: index[rng.choice(sorted(index))] = rng.choice(evil)
    elif how == 1: members['0.jpg'] = bytes(3_000_000)
    elif how == 2: members.pop(rng.choice(sorted(members)))
    else: index = rng.choice(evil)
    if 'index.json' in members: members['index.json'] = json.dumps(index).encode('utf-8', 'replace')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        for n, data in members.items(): z.writestr(n, data)
    return f'way {how}'

def mutate_bytes(path, rng):
    "What may happen to any file"
    data, how = bytearray(path.read_bytes()), rng.randrange(9)
    if how == 0: data = data[:rng.randrange(len(data) + 1)]
    elif how in (1, 2):
        for _ in range(rng.choice([1, 3, 30])): data[rng.randrange(min(len(data), rng.choice([300, len(data)])))] = rng.randrange(256)
    elif how == 3: data = b''
    elif how == 4:
        data = rng.choice([
            b'[' * 10_000,
            b'{"a":' * 10_000,
            b'9' * 100_000,
            b'[' + b'9' * 4000 + b']',
            b'\xff\xfe\0',
            b'null',
            b'[]',
            b'"x"',
            b'{}',
        ])
    elif how == 5: data = (path.parent/rng.choice(sorted(p.name for p in path.parent.iterdir() if p.is_file() and p != path))).read_bytes()
    path.unlink()
    if how == 6: path.mkdir()
    elif how == 7: os.mkfifo(path)
    elif how == 8: path.symlink_to(rng.choice(['/dev/zero', '/etc/passwd', 'nowhere', path.name, '/', '/proc/self/environ']))
    else: path.write_bytes(data)
    return f'bytes, way {how}'

ways = {
    'classifier.json': mutate_json,
    'metrics.json': mutate_json,
    'focus.json': mutate_json,
    'predictions.csv': mutate_csv,
    'cross_validation.csv': mutate_csv,
    'neighbours.csv': mutate_csv,
    'weights.safetensors': mutate_arrays,
    'model.onnx': mutate_graph,
    'pictures.zip': mutate_zip,
    'README.md': mutate_bytes,
    'report.html': mutate_bytes,
}


def every_use(folder, photo, out, base, own_graph):
    "(name, function) of all that is done with a classifier's folder"
    from quickcls.report.answer_html import answer_html, ask
    from quickcls.backbones.weights import earlier_views
    from quickcls.report.card import write_card
    from quickcls.report.record import read_facts
    from quickcls.report.thumbnails import Packed
    from quickcls.report.page import write_report
    from quickcls.app.space import copy_classifier, space_card
    kept = {}
    def load():
        clf = kept['clf'] = Classifier.load(folder)
        if own_graph: return
        clf.predict(np.zeros((9, 9, 3), np.uint8)) if clf.arch != base.arch else None
        if clf.arch == base.arch: clf._open = base._open # opened once: the graph is the same
    def facts(): kept['facts'] = read_facts(folder)
    def use(name, f): return lambda: f(kept[name]) if name in kept else None

    def packed():
        p = kept['packed'] = Packed(folder)
        [p.get(n) for n in [*p.index][:3]]

    def explained(clf):
        heat = clf.explain(photo)
        heat.plot(), heat._repr_jpeg_(), json.dumps(heat.to_dict(), allow_nan=False)
    def evaluated(clf):
        ev = clf.evaluate()
        str(ev), ev._repr_html_(), ev.metrics(), ev.top_k(), ev.plot_top_losses()

    return dict(
        load=load,
        repr=use('clf', lambda c: (repr(c), c._repr_html_(), c.name, c.arch)),
        predict=use('clf', lambda c: (str(p := c.predict(photo)), json.dumps(p.to_dict(), allow_nan=False))),
        facts=facts,
        report=use('facts', lambda f: write_report(f, out=out / 'report.html', say=lambda s: None)),
        page=lambda: write_report(folder, say=lambda s: None),
        card=use('facts', write_card),
        explain=use('clf', explained),
        tag=use('clf', lambda c: c.tag(photo)),
        packed=packed,
        answer=use('clf', lambda c: answer_html(ask(c, photo.read_bytes()), kept['packed'].get if 'packed' in kept else lambda p: None)),
        space=lambda: copy_classifier(folder, out / 'space', 'x'),
        space_card=lambda: space_card(folder, 'x', 'x'),
        evaluate=use('clf', evaluated),
        trust=use('clf', lambda c: (str(c.trust), c.trust._repr_markdown_())),
        views=lambda: earlier_views(folder),
    )


def run_mutants(trained, tmp, watch, seeds, share=1.):
    "Failures of mutants: (seed, file, what was done, which use, what came); `share` of the slow uses is tried"
    import random, sys, traceback
    import quickcls.all # which gives a classifier all of its methods
    base, failures = Classifier.load(trained[0]), []
    base.explain(image_of(trained))
    base.tag(image_of(trained))
    allowed = [
        os.path.realpath(p)
        for p in (
            sys.prefix,
            sys.base_prefix,
            np.__path__[0] + '/..',
            os.environ['QUICKCLS_CACHE'],
            trained[1],
            Path(__file__).parent.parent,
            '/usr/lib',
            '/usr/share',
            '/usr/local',
            '/proc',
            '/sys',
            '/etc/fonts',
            '/var/cache/fontconfig',
            Path.home() / '.cache',
            Path.home() / '.config',
            Path.home() / '.fonts',
            Path.home() / '.local',
        )
    ]
    for seed in seeds:
        rng = random.Random(seed)
        folder, out = tmp/str(seed)/'model', tmp/str(seed)/'out'
        shutil.copytree(trained[0], folder)
        out.mkdir()
        name = rng.choice(sorted(ways))
        if not (folder/name).exists(): name = 'predictions.csv'
        what = (mutate_bytes if rng.random() < .25 else ways[name])(folder/name, rng)
        if name in ('model.onnx', 'weights.safetensors'): without_digests(folder)
        for use, call in every_use(folder, image_of(trained), out, base, name == 'model.onnx').items():
            if use in ('report', 'page', 'explain', 'tag', 'space', 'evaluate') and rng.random() > share: continue
            started = time.process_time() # of computing: a shared machine may take long
            try:
                with watch: call()
            except QuickclsError as e:
                if '\n' in str(e) or len(str(e)) > 400 + len(str(folder)):
                    failures.append((seed, name, what, use, f'not a line: {str(e)[:600]!r}'))
            except Exception as e:
                failures.append((
                    seed,
                    name,
                    what,
                    use,
                    f'{type(e).__name__}: {str(e)[:150]} at '
                    f'{[f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(e.__traceback__)[-6:]]}',
                ))
            own = [os.path.realpath(tmp/str(seed))]
            for p, mode, flags in watch.opened:
                writes = bool(mode and set('wax+') & set(mode)) or bool(
                    isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
                )
                inside = any(p == a or p.startswith(a + os.sep) for a in own + [os.path.realpath(os.environ['QUICKCLS_CACHE'])])
                if not inside and (
                    p not in ('/dev/null', '/dev/urandom')
                    and writes
                    or not any(
                        p == a or p.startswith(a + os.sep)
                        for a in allowed + ['/dev/null', '/dev/urandom', '/etc/localtime', '/etc/mime.types', '/dev/shm']
                    )
                ):
                    failures.append((seed, name, what, use, f'opened {p} {mode}'))
            if watch.other: failures.append((seed, name, what, use, f'{watch.other}'))
            if time.process_time() - started > 40: failures.append((seed, name, what, use, 'took over 40 s of computing'))
        shutil.rmtree(tmp/str(seed))
    return failures

@pytest.mark.slow
def test_whatever_a_file_holds_it_ends_in_a_line(trained, tmp_path, watch):
    """Seeded changes of every file, and all that is done with a folder: it works, or ends in one line; nothing is written
    or read elsewhere, started or asked of the network"""
    first, n = int(os.environ.get('QUICKCLS_MUTANTS_FROM', 0)), int(os.environ.get('QUICKCLS_MUTANTS', 60))
    failures = run_mutants(trained, tmp_path, watch, range(first, first + n), share=.15)
    assert not failures, '\n'.join(map(str, failures))

# what each file may say

@pytest.mark.parametrize(
    'name, change, part',
    [
        (
            'metrics.json',
            lambda d: d['trust']['cross_validation'].update(accuracy='x'),
            "trust.cross_validation.accuracy is 'x'",
        ),
        ('metrics.json', lambda d: d['trust']['cross_validation'].update(interval=[0.9, 0.8]), 'trust.cross_validation.interval'),
        ('metrics.json', lambda d: d['trust']['cross_validation'].pop('folds'), 'trust.cross_validation.folds'),
        ('metrics.json', lambda d: d.update(notes=5), 'notes is 5'),
        ('metrics.json', lambda d: d.update(valid=dict(accuracy=float('nan'))), 'finite numbers'),
        ('metrics.json', lambda d: d.update(deep=deep(60)), 'deep'),
        ('metrics.json', lambda d: d.update(more='\ud800'), 'surrogates'),
        ('classifier.json', lambda d: d.update(versions=[1]), 'versions is a list of 1'),
        ('classifier.json', lambda d: d['metrics'].update(interval=None), 'metrics.interval is null'),
        ('classifier.json', lambda d: d['head'].update(notes=dict(C='a')), 'head.notes.C'),
        ('classifier.json', lambda d: d['head'].update(notes=dict(widths=['a'])), 'head.notes.widths'),
        ('classifier.json', lambda d: d.update(vocab=['a', 'a']), 'names a class twice'),
        ('classifier.json', lambda d: d['views'][0].update(digest='../../x'), 'views[0].digest'),
        ('classifier.json', lambda d: d['views'][0]['backbone'].update(timm='hf-hub:evil/model'), 'views[0].backbone.timm'),
        ('classifier.json', lambda d: d.update(temperature=1e400), 'finite numbers'),
        ('focus.json', lambda d: d['pictures'][0].update(cells=[[1, 2], [3]]), 'pictures[0].cells'),
        ('focus.json', lambda d: d.update(grid='ab'), 'grid'),
    ],
)
def test_a_json_file_says_what_it_may(folder, name, change, part):
    "One line names the file, the key, what was found and what was expected"
    from quickcls.report.record import read_facts
    change_json(folder/name, change)
    refused(lambda: read_facts(folder), name, part)
    if name == 'classifier.json': refused(lambda: Classifier.load(folder), name, part)

def test_what_later_versions_write_stays(folder):
    change_json(
        folder / 'classifier.json',
        lambda d: (d.update(later=dict(a=[1])), d['views'][0]['backbone'].update(later=1), d['head'].update(later=1)),
    )
    change_json(folder/'metrics.json', lambda d: (d.update(later=1), d['trust'].update(later=dict(a=1))))
    from quickcls.report.record import read_facts
    assert Classifier.load(folder).info['later'] == dict(a=[1]) and read_facts(folder).metrics['later'] == 1

@pytest.mark.parametrize(
    'column, value, part',
    [
        ('loss', 'inf', 'loss'),
        ('p_ok', '1.5', 'p_ok'),
        ('label', 'cat', 'label'),
        ('split', 'spare', 'split'),
        ('twin', 'perhaps', 'twin'),
        ('sha256', None, 'sha256'),
        ('p_defect', None, 'p_defect'),
    ],
)
def test_a_table_says_what_it_may(folder, column, value, part):
    import pandas as pd
    from quickcls.report.record import read_facts
    t = pd.read_csv(folder/'predictions.csv', dtype=str, keep_default_na=False)
    (t.drop(columns=column) if value is None else t.assign(**{column: [value, *t[column][1:]]})).to_csv(
        folder / 'predictions.csv', index=False
    )
    refused(lambda: read_facts(folder), 'predictions.csv', part)
    refused(lambda: Classifier.load(folder).evaluate(), 'predictions.csv', part)

@pytest.mark.parametrize(
    'change, part',
    [
        (lambda a: a | {'head.1.weight': a['head.1.weight'][:, :-1]}, '1.weight'),
        (lambda a: a | {'head.1.weight': a['head.1.weight'] * np.float32('nan')}, 'finite'),
        (lambda a: a | {'head.0.running_var': -a['head.0.running_var'] - 1}, 'running_var'),
        (lambda a: a | {'head.1.weight': a['head.1.weight'].astype(np.float64)}, 'float64'),
        (lambda a: {k: v for k, v in a.items() if k != 'head.1.weight'}, '1.weight'),
        (lambda a: {k: v for k, v in a.items() if k != 'open_set.known'}, 'known'),
    ],
)
def test_arrays_fit_each_other(folder, change, part):
    from safetensors.numpy import load_file, save_file

    save_file(
        {k: np.ascontiguousarray(v) for k, v in change(load_file(folder / 'weights.safetensors')).items()}, folder / 'weights.safetensors'
    )
    without_digests(folder)
    refused(lambda: Classifier.load(folder), part)

# thumbnails

def test_an_archive_that_unfolds_is_not_unfolded(folder):
    "Many members, a large one, one that claims less than it holds, an image of many pixels, an index that is none"
    import zipfile
    from quickcls.report.thumbnails import Packed
    def archive(members, index='{"a": "0.jpg"}', kind=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(folder/'pictures.zip', 'w', kind) as z:
            z.writestr('index.json', index)
            for n, data in members: z.writestr(n, data)
    archive((f'{i}.jpg', b'') for i in range(70_000))
    refused(lambda: Packed(folder), 'pictures.zip', seconds=1)
    archive((f'{i}.jpg', b'') for i in range(30_000))
    refused(lambda: Packed(folder), 'pictures.zip', seconds=1)
    archive([('0.jpg', bytes(50_000_000))])
    assert Packed(folder).get('a') is None
    archive([('0.jpg', bytes(2_000_000))])
    data = (folder/'pictures.zip').read_bytes()
    (folder/'pictures.zip').write_bytes(data.replace((2_000_000).to_bytes(4, 'little'), (10).to_bytes(4, 'little')))
    assert Packed(folder).get('a') is None
    from tests.helpers import as_bytes
    archive([('0.jpg', as_bytes(image(1, 3000, 3000)))])
    assert Packed(folder).get('a') is None
    archive([], index=' '*20_000_000)
    refused(lambda: Packed(folder), 'index.json')
    archive([], index='["a"]')
    refused(lambda: Packed(folder), 'index.json')
    archive([('0.jpg', as_bytes(image(1)))], kind=zipfile.ZIP_LZMA)
    refused(lambda: Packed(folder), 'pictures.zip')
    archive([('0.jpg', as_bytes(image(1)))])
    assert Packed(folder).get('a') is not None

# what is published, and what is no file

@pytest.mark.parametrize(
    'name',
    ['classifier.json', 'metrics.json', 'predictions.csv', 'weights.safetensors', 'model.onnx', 'pictures.zip', 'README.md', 'focus.json'],
)
def test_nothing_of_a_linked_file_is_published(folder, tmp_path, name):
    "Loading follows links, as models from a hub are made of them; publishing does not"
    from quickcls.app.space import write_space
    shutil.move(folder/name, tmp_path/'secret')
    (folder/name).symlink_to(tmp_path/'secret')
    assert Classifier.load(folder).evaluate().n > 0
    refused(lambda: write_space(folder, tmp_path/'space'), name, 'link')
    assert not (tmp_path/'space').exists()

def test_thumbnails_are_published_anew(folder, tmp_path):
    "Only images that can be read, and nothing that lies beside them"
    import zipfile
    from quickcls.report.thumbnails import Packed
    from quickcls.app.space import copy_classifier
    with zipfile.ZipFile(folder/'pictures.zip', 'a') as z: z.writestr('secret.txt', 'at home')
    copy_classifier(folder, tmp_path/'copy', 'x')
    with zipfile.ZipFile(tmp_path/'copy'/'pictures.zip') as z: assert 'secret.txt' not in z.namelist()
    assert Packed(tmp_path / 'copy').index.keys() == Packed(folder).index.keys() and Classifier.load(tmp_path / 'copy').vocab == [
        'defect',
        'ok',
    ]  # with digests of its own


@pytest.mark.parametrize(
    'name',
    [
        'classifier.json',
        'metrics.json',
        'predictions.csv',
        'weights.safetensors',
        'model.onnx',
        'pictures.zip',
        'README.md',
        'focus.json',
        'neighbours.csv',
        'report.html',
    ],
)
@pytest.mark.parametrize('kind', ['pipe', 'folder', 'device', 'link to itself'])
def test_what_is_no_file_is_refused(folder, name, kind):
    "At once, in one line"
    from quickcls.backbones.weights import earlier_views
    from quickcls.report.thumbnails import Packed
    from quickcls.report.page import write_report
    if (folder/name).exists(): (folder/name).unlink()
    if kind == 'pipe': os.mkfifo(folder/name)
    elif kind == 'folder': (folder/name).mkdir()
    else: (folder/name).symlink_to('/dev/zero' if kind == 'device' else name)
    if name in ('classifier.json', 'weights.safetensors', 'model.onnx'): refused(lambda: Classifier.load(folder), name)
    elif name == 'pictures.zip': refused(lambda: Packed(folder), name)
    else: refused(lambda: write_report(folder, say=lambda s: None), name)
    if name == 'classifier.json': refused(lambda: earlier_views(folder), 'classifier.json')

def test_a_link_is_not_written_through(folder, tmp_path):
    "A card or a report that is a link would be written to wherever it leads"
    from quickcls.report.page import write_report
    for name in ('README.md', 'report.html'):
        (folder/name).unlink()
        (folder/name).symlink_to(tmp_path/'outside')
        refused(lambda: write_report(folder, say=lambda s: None), name)
        (folder/name).unlink()
    assert not (tmp_path/'outside').exists()
