"A classifier's folder from a stranger: it cannot run on for ever, read elsewhere, write elsewhere, or end in a traceback"
import json, os, shutil, time
from pathlib import Path
import numpy as np, onnx, pytest
from onnx import TensorProto, helper, numpy_helper
from quickcls.classifier import Classifier
from quickcls.core import QuickclsError
from quickcls.folder import digests
from tests.helpers import some_parts

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "(folder of a classifier with thumbnails, folder of its images)"
    from quickcls.packed import pack_pictures
    from quickcls.train import train
    root = tmp_path_factory.mktemp('hostile')
    some_parts(root/'parts', slice(0, 16))
    clf = train(str(root/'parts'), out=str(root/'model'), arch='efficientnet_lite0', quiet=True)
    pack_pictures(clf.path, say=lambda s: None)
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
    started = time.perf_counter()
    with pytest.raises(QuickclsError) as e: call()
    said = str(e.value)
    assert '\n' not in said and len(said) <= 400 and time.perf_counter() - started < seconds
    for p in parts: assert p in said, said
    return said

# model.onnx

def loop(m):
    "2^62 rounds, whose result is added to the embedding"
    one, rounds, go = (numpy_helper.from_array(np.array(v), n) for v, n in ((np.float32(0), 'loop/start'), (np.int64(2**62), 'loop/rounds'), (True, 'loop/go')))
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

@pytest.mark.parametrize('change, part', [(loop, 'Loop'), (external, 'another file'), (function, 'operators of its own'), (bomb, 'ConstantOfShape'), (claims, 'claims'), (future, '99'), (domain, 'com.example'),
                                          (operator, 'RandomNormal'), (fewer, 'no output probs'), (classes, 'probs'), (sides, '224'), (sparse, 'sparse')], ids=lambda v: getattr(v, '__name__', None))
def test_a_graph_that_quickcls_never_writes_is_not_run(folder, change, part):
    m = onnx.load(str(folder/'model.onnx'))
    change(m)
    (folder/'model.onnx').write_bytes(m.SerializeToString())
    without_digests(folder)
    refused(lambda: Classifier.load(folder).predict(np.zeros((64, 64, 3), np.uint8)), 'model.onnx', part)

@pytest.mark.parametrize('data', [b'', b'no graph', b'<?xml version="1.0"?><net name="x" version="11"><layers/></net>', b'\x08\x08', bytes(10_000), b'ir_version: 8 graph { }'])
def test_other_files_under_the_name_of_a_graph(folder, data):
    (folder/'model.onnx').write_bytes(data)
    refused(lambda: Classifier.load(folder), 'model.onnx')

def test_every_length_of_a_graph_is_safe_to_look_at(folder):
    "Cut anywhere, in the middle of a number or a name"
    data, clf = (folder/'model.onnx').read_bytes(), Classifier.load(folder)
    from quickcls.graph_check import check_graph_file
    for n in (*range(1, 60), *range(len(data) - 2000, len(data), 37)):
        (folder/'model.onnx').write_bytes(data[:n])
        refused(lambda: check_graph_file(folder/'model.onnx', len(clf.vocab), clf.head.n_in, [224]), 'model.onnx')

def test_a_file_that_changed_is_noticed(folder):
    "Graph and arrays are those that were written; a classifier without digests, as earlier versions wrote it, still loads, and so does one whose tables were edited"
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
        if event == 'open' and isinstance(args[0], (str, bytes, os.PathLike)): self.opened.append((os.path.realpath(os.fsdecode(args[0])), args[1] if isinstance(args[1], str) else None, args[2]))
        elif event in ('subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'socket.connect', 'socket.getaddrinfo', 'pty.spawn', 'os.fork'): self.other.append(event)
    def __enter__(self): self.on, self.opened, self.other = True, [], []; return self
    def __exit__(self, *_): self.on = False

@pytest.fixture(scope='session')
def watch():
    import sys
    w = Watch()
    sys.addaudithook(w.hook)
    return w

def thumbs_of(page):
    import re
    return {k: v for k, v in json.loads(re.search('<script type="application/json" id="thumbs">(.*?)</script>', page.read_text(), re.S)[1]).items() if v}

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
    "Paths that lead out of the data folder are not opened, whatever content they are said to have; within it only the known content is shown"
    from quickcls.explain import explain
    from quickcls.packed import Packed, pack_pictures
    from quickcls.report import write_report
    from quickcls.teach import Teacher
    secret, data = tmp_path/'secret.jpg', tmp_path/'parts'
    shutil.copytree(trained[1], data)
    shutil.copy(image_of(trained), secret)
    if kind == 'other content': secret.write_bytes(sorted(trained[1].rglob('*.jpg'))[1].read_bytes())
    for p in data.rglob('*.jpg'):
        if kind in ('pipe', 'device', 'link', 'other content'): p.unlink()
        if kind == 'pipe': os.mkfifo(p)
        if kind == 'device': p.symlink_to('/dev/zero')
        if kind in ('link', 'other content'): p.symlink_to(secret)
    named = {'absolute': lambda p: str(secret), 'up': lambda p: f'{data}/ok/../../secret.jpg'}.get(kind, lambda p: p.replace(str(trained[1]), str(data)))
    for name in ('classifier.json', 'metrics.json'): change_json(folder/name, lambda d: d['data'].update(folder=str(data), fingerprint='0'*16))
    rename_paths(folder, named)
    (folder/'pictures.zip').unlink(); (folder/'report.html').unlink()
    with watch:
        page = write_report(folder, say=lambda s: None)
        explain(str(folder), str(image_of(trained)), out=str(tmp_path/'heat.png'))
        Classifier.load(folder).evaluate().plot_top_losses()
        try: pack_pictures(folder, say=lambda s: None)
        except QuickclsError: pass
        try: Teacher.of(Classifier.load(folder), tmp_path/'corrections', say=lambda s: None)
        except QuickclsError: pass
    shown = set(thumbs_of(page)) | set(Packed(folder).index)
    if kind in ('absolute', 'up'): assert str(secret) not in [p for p, *_ in watch.opened]
    assert kind == 'link' and len(shown) <= 3 or shown == set(), kind # a link to the very content that was known is fine: data sets are made of links
    assert not [p for p, *_ in watch.opened if p.startswith('/dev/zero') or kind == 'pipe' and p.startswith(str(data))]

def test_a_report_finds_its_images_from_anywhere(trained, folder, tmp_path, monkeypatch):
    "This machine knows where they lay, whatever the current folder is and wherever the classifier went"
    from quickcls.report import write_report
    from quickcls.train import train
    monkeypatch.chdir(trained[1].parent)
    clf = train('parts', out=str(tmp_path/'relative'), arch='efficientnet_lite0', quiet=True)
    before = (clf.path/'report.html').read_bytes()
    monkeypatch.chdir(tmp_path)
    shutil.move(tmp_path/'relative', tmp_path/'elsewhere')
    said = []
    assert write_report(tmp_path/'elsewhere', name='relative', say=said.append).read_bytes() == before and said == []

def test_a_report_keeps_the_thumbnails_that_it_has(trained, folder, tmp_path):
    "Images that are gone stay on the page that is written again, and one line says how many; with --no-pictures none stay"
    from quickcls.report import write_report
    before = thumbs_of(folder/'report.html')
    assert len(before) >= 9
    trained[1].rename(trained[1].with_name('moved'))
    try:
        said = []
        again = thumbs_of(write_report(folder, say=said.append))
        assert again == before and len(said) == 1 and '--data' in said[0] and '\n' not in said[0] and 'kept' in said[0]
        assert thumbs_of(write_report(folder, out=tmp_path/'new.html', say=said.append)) == {} and 'kept' not in said[1] # there is no page before it
        page = (folder/'report.html').read_text()
        uri = next(iter(before.values()))
        (folder/'report.html').write_text(page.replace(uri, 'data:text/html,<script>alert(1)</script>'.replace('<', '\\u003c')))
        assert 'alert(1)' not in write_report(folder, say=said.append).read_text()
        assert thumbs_of(write_report(folder, pictures=False, say=said.append)) == {}
        assert thumbs_of(write_report(folder, say=said.append)) == {}
    finally: trained[1].with_name('moved').rename(trained[1])
