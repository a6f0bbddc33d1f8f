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
