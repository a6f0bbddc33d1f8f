"The same digits on every machine, on the page, and from model.onnx in other programs"
import json, os, re, shutil, subprocess, sys
import numpy as np, pytest
from types import SimpleNamespace
from quickcls.all import Classifier, train
from quickcls.backbones.engines import OpenVINOEngine, precision_settings
from quickcls.backbones.onnx_graph import Graph
from quickcls.core import QuickclsError
from quickcls.heads.head import Head
from quickcls.report.card import onnx_example, write_card
from quickcls.report.record import read_facts
from tests.helpers import files_of, halves, image, repo, some_parts, with_orientation

net, photo = repo/'tests'/'fixtures'/'saved_classifiers'/'net', repo/'docs'/'parts'/'ok.jpg'

def description(folder): return json.loads((folder/'classifier.json').read_text())

@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    "A classifier trained without a word about precision"
    root = tmp_path_factory.mktemp('precision')
    return train(some_parts(root/'parts', slice(12)), out=root/'m', arch='efficientnet_lite0@96', folds=0, quiet=True)

# --- the precision of a classifier

def test_training_and_answers_use_32_bit_floats(parts):
    "Whatever the processor would do faster: the description and the card say it, the page's figures are what it answers"
    import pandas as pd
    assert description(parts.path)['precision'] == parts.precision == parts.engine.precision == 'f32'
    assert '| precision | f32 |' in (parts.path/'README.md').read_text()
    t = pd.read_csv(parts.path/'predictions.csv')
    got = [{a['label']: a['probability'] for a in p.top} for p in parts.predict(files_of(parts, t.path))]
    assert [[g[c] for c in parts.vocab] for g in got] == pytest.approx(t[[f'p_{c}' for c in parts.vocab]].to_numpy(), abs=1e-3)

def test_heat_maps_are_of_the_same_precision(parts):
    heat, answer = parts.explain(photo), parts.predict(photo)
    assert heat.label == answer.label and heat.probability == pytest.approx(answer.top[0]['probability'], abs=1e-4)

def test_another_precision_is_asked_for_or_told(parts, tmp_path, monkeypatch):
    "The variable counts more than the description, an argument more than both; what this processor lacks is f32"
    has = OpenVINOEngine(parts.path/'model.onnx', precision='bf16').precision
    folder = shutil.copytree(parts.path, tmp_path/'m')
    (folder/'classifier.json').write_text(json.dumps(description(folder) | dict(precision='bf16')))
    assert Classifier.load(folder).engine.precision == has
    monkeypatch.setenv('QUICKCLS_PRECISION', 'f32')
    assert Classifier.load(folder).engine.precision == 'f32' and Classifier.load(folder, precision='bf16').engine.precision == has
    monkeypatch.setenv('QUICKCLS_PRECISION', 'bf16')
    assert Classifier.load(parts.path).engine.precision == has

def test_no_network_is_compiled_where_the_store_has_all_embeddings(parts, monkeypatch):
    from quickcls.backbones.onnx_graph import get_graph
    from quickcls.data.items import scan_folder
    from quickcls.features.embed import Embeddings
    graph = get_graph(parts.views[0])
    monkeypatch.setattr('quickcls.backbones.engines.read_network', lambda path: pytest.fail('a network was opened'))
    embeddings, items = Embeddings([graph]), scan_folder(parts.path.parent/'parts')
    embeddings.embed(items)
    assert embeddings.precision == 'f32' and embeddings.read(items.table).shape == (len(items), graph.dim)

def test_a_processor_without_16_bit_floats(monkeypatch):
    import openvino
    monkeypatch.setattr(openvino, 'Core', lambda: SimpleNamespace(get_property=lambda *_: ['FP32', 'INT8']))
    for name in ('bf16', 'f16', 'f32'): assert precision_settings(name) == {'INFERENCE_PRECISION_HINT': 'f32'}
    assert precision_settings('fastest') == {}

@pytest.mark.parametrize('name', ['fp32', 'half', '16'])
def test_names_that_are_none(parts, monkeypatch, name):
    monkeypatch.setenv('QUICKCLS_PRECISION', name)
    with pytest.raises(QuickclsError, match=f"'{name}' is no precision .*QUICKCLS_PRECISION.*Expected one of f32, bf16, f16, fastest"):
        Classifier.load(parts.path).predict(photo)

def test_a_classifier_of_before_computes_as_it_did():
    "Without the field: what the processor does fastest"
    assert 'precision' not in description(net)
    assert Classifier.load(net).engine.precision == OpenVINOEngine(net/'model.onnx', precision='fastest').precision

def test_a_wrong_precision_in_a_description(parts, tmp_path):
    folder = shutil.copytree(parts.path, tmp_path/'m')
    (folder/'classifier.json').write_text(json.dumps(description(folder) | dict(precision='f8')))
    with pytest.raises(QuickclsError, match="precision is 'f8', expected one of f32, bf16, f16"): Classifier.load(folder)

# --- integers

@pytest.mark.slow
def test_a_classifier_in_integers(parts, tmp_path, own_cache, capfd):
    """It answers as the one in floats does, in a third of the size and in other runtimes too; a folder that has grown uses
    the same network, and nothing is sent or printed by the library that makes it"""
    import onnx
    from quickcls.core import cache_dir
    pytest.importorskip('nncf')
    folder = some_parts(tmp_path/'parts', slice(12))
    how = dict(arch='efficientnet_lite0@96', folds=0, precision='int8', quiet=True)
    clf = train(folder, out=tmp_path/'m', **how)
    assert capfd.readouterr().out == '' and os.environ['NNCF_CI']
    assert description(clf.path)['precision'] == clf.engine.precision == 'int8'
    assert '| precision | int8 |' in (clf.path/'README.md').read_text()
    shown = sorted(folder.rglob('*.jpg'))
    a, b = ([q.label for q in c.predict(shown)] for c in (parts, clf))
    assert np.mean([x == y for x, y in zip(a, b)]) >= .9
    small, large = ((c.path/'model.onnx').stat().st_size for c in (clf, parts))
    model = onnx.load(str(clf.path/'model.onnx'))
    assert small < large/3 and model.ir_version == 9 and model.opset_import[0].version <= 20
    assert clf.explain(photo).label == clf.predict(photo).label
    image(9, 120, 90).save(folder/'ok'/'new.png')
    train(folder, out=tmp_path/'m2', **how)
    assert len(list(cache_dir('graphs').glob('*-int8-*.onnx'))) == 1

def test_int8_without_the_library_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'nncf', None)
    with pytest.raises(QuickclsError, match=r"precision='int8' needs NNCF, .*pip install .quickcls\[int8\]"):
        train(some_parts(tmp_path/'parts', slice(6)), out=tmp_path/'m', arch='efficientnet_lite0@96', precision='int8', quiet=True)

@pytest.mark.parametrize('options, said', [
    (dict(precision='int4'), "precision is 'int4'. Expected one of f32, bf16, f16, fastest, int8"),
    (dict(precision='int8', strategy='partial'), "precision='int8' is for a frozen network, and strategy is partial"),
    (dict(precision='int8', arch='akaze-bow-svm'), "precision='int8' is for networks, and akaze")])
def test_precisions_that_cannot_be(tmp_path, options, said):
    with pytest.raises(QuickclsError, match=re.escape(said)):
        train(some_parts(tmp_path/'parts', slice(6)), out=tmp_path/'m', quiet=True, offline=True, **options)

def test_a_training_in_the_precision_that_it_is_asked_for(parts, tmp_path):
    "It counts more than the variable's usual value, and the classifier remembers it"
    has = OpenVINOEngine(parts.path/'model.onnx', precision='bf16').precision
    clf = train(parts.path.parent/'parts', out=tmp_path/'m', arch='efficientnet_lite0@96', folds=0, precision='bf16', quiet=True)
    assert description(clf.path)['precision'] == clf.engine.precision == has

# --- model.onnx in other hands

stand_in = '''
import sys, types
from onnx.reference import ReferenceEvaluator
sys.modules['onnxruntime'] = types.SimpleNamespace(InferenceSession=lambda path, providers: ReferenceEvaluator(path))
'''

def several_photos(root):
    "Photos that are prepared in different ways: turned, transparent, grey, with a palette, drafted"
    big = image(5, 900, 600)
    big.save(root/'turned.jpg', exif=with_orientation(6))
    big.save(root/'progressive.jpg', progressive=True)
    halves((255, 0, 0, 255), (0, 0, 0, 0), 'RGBA').save(root/'alpha.png')
    halves(255, 0, 'L').save(root/'grey.png')
    halves('red', 'blue').quantize(4).save(root/'palette.png')
    image(7, 700, 60).save(root/'wide.webp')
    return [photo, *sorted(root.iterdir())]

def over(code, photos):
    "The program of a card for several photos, a line of `=` before each"
    *start, last = code.rsplit('\nprobs = ', 1)
    body = 'probs = ' + last.replace("'photo.jpg'", 'p')
    loop = '\n'.join('    ' + line for line in body.splitlines())
    return f'{start[0]}\nfor p in {list(map(str, photos))}:\n    print("0 =")\n{loop}'

def answers_of(code, photos, folder):
    done, found = run_lines(over(code, photos), folder), []
    for line in done:
        if line == '0 =': found.append({})
        else: found[-1][line.split(' ', 1)[1]] = float(line.split(' ', 1)[0])
    return found

def run_lines(code, folder):
    "What a program prints; without onnxruntime, the reference of ONNX runs the graph"
    try: import onnxruntime
    except ImportError: code = stand_in + code
    done = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()

def same_digits(clf, code, photos):
    for p, got in zip(photos, answers_of(code, photos, clf.path), strict=True):
        want = {t['label']: t['probability'] for t in clf.predict(p).top}
        assert got == pytest.approx(want, abs=1e-3), p

def test_the_program_of_the_card_gives_the_digits_of_predict(parts, tmp_path):
    "As it stands in README.md; the only change is the photo's name"
    text = (parts.path/'README.md').read_text()
    code, = re.findall(r'```python\n(# pip install onnxruntime.*?)\n```', text, re.S)
    assert '`[n, 96, 96, 3]` | red, green, blue | uint8, 0 to 255; normalised inside the graph | squish: stretched to the square' in text
    shutil.copy(photo, parts.path/'photo.jpg')
    assert {line.split(' ', 1)[1] for line in run_lines(code, parts.path)} == set(parts.vocab)
    same_digits(parts, code, several_photos(tmp_path))

@pytest.mark.parametrize('resize', ['squish', 'crop', 'pad'])
def test_two_views(tmp_path, resize):
    "Two inputs, each way of resizing"
    from dataclasses import replace
    base = Classifier.load(net)
    views = [replace(base.views[0], resize=resize), base.views[0]]
    graphs = [Graph(net/'model.onnx', v, 'net', base.head.n_in, base.open_set.late[0][1]//2, 'trained', 1.) for v in views]
    w = np.random.default_rng(0).normal(size=(3, 2*base.head.n_in)).astype(np.float32)/4
    head = Head('linear', [dict(kind='linear')], {'0.weight': w})
    clf = Classifier(['a', 'b', 'c'], views, 'all', head, graphs=graphs).save(tmp_path/'m')
    facts = SimpleNamespace(info=description(clf.path), vocab=clf.vocab)
    (tmp_path/'photos').mkdir()
    same_digits(clf, onnx_example(facts), several_photos(tmp_path/'photos'))

def test_old_runtimes_read_it(parts):
    "Version 9 of the format, which onnxruntime 1.17 reads; nothing in the graph needs a later one"
    import onnx
    model = onnx.load(str(parts.path/'model.onnx'))
    onnx.checker.check_model(model)
    assert model.ir_version == 9 and model.opset_import[0].version <= 20 and not model.functions

def test_the_card_of_a_classifier_of_before(tmp_path):
    "It says when digits may differ, and keeps its promise in 32-bit floats"
    folder = shutil.copytree(net, tmp_path/'net')
    text = write_card(read_facts(folder)).read_text()
    assert 'where `QUICKCLS_PRECISION` is `f32`' in text and '| precision | f32' not in text
    code, = re.findall(r'```python\n(# pip install onnxruntime.*?)\n```', text, re.S)
    same_digits(Classifier.load(folder, precision='f32'), code, [photo])

def test_visual_words_have_no_graph(tmp_path):
    folder = shutil.copytree(net.parent/'classic', tmp_path/'classic')
    text = write_card(read_facts(folder)).read_text()
    assert 'There is no `model.onnx`' in text and 'onnxruntime' not in text
