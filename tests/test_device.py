"Where networks run: --device, torch as an engine; on a GPU where there is one"
import numpy as np, pytest
from sklearn.datasets import load_sample_images
from quickcls import cli
from quickcls.backbones.device import gpu, named_device, use_device
from quickcls.backbones.engines import OpenVINOEngine, TorchEngine, open_engine
from quickcls.backbones.onnx_graph import get_graph
from quickcls.backbones.registry import parse_views
from quickcls.core import QuickclsError
from quickcls.data.images import load_image
from quickcls.features.extractors import open_joined
from quickcls.model.classifier import Classifier

here = gpu()
needs_gpu = pytest.mark.skipif(not here, reason='no GPU that torch can use: neither CUDA nor MPS')

@pytest.fixture(scope='module')
def graph(): return get_graph(parse_views('efficientnet_lite0')[0], offline=True)

@pytest.fixture(scope='module')
def batch(): return np.stack([np.asarray(load_image(a)) for a in load_sample_images().images])

@pytest.fixture
def device(monkeypatch):
    "Function: takes a device for this test only"
    monkeypatch.setenv('QUICKCLS_DEVICE', 'cpu')
    return use_device

def cosines(a, b): return (a*b).sum(1)/np.linalg.norm(a, axis=1)/np.linalg.norm(b, axis=1)

@pytest.mark.parametrize('command', cli.on_device)
def test_every_command_that_runs_a_network_takes_a_device(command):
    parser, _ = cli.command_parser(command)
    assert '--device' in {o for a in parser._actions for o in a.option_strings}

def test_a_device_that_is_not_there_is_an_error_before_the_work(device, capsys):
    with pytest.raises(QuickclsError, match='Expected one of auto, cpu, cuda, mps'): device('gpu')
    missing = next(d for d in ('cuda', 'mps') if d != here)
    assert cli.main(['train', 'nowhere', '--device', missing]) == 1
    assert f'--device is {missing}, and torch can use' in capsys.readouterr().err

def test_auto_leaves_the_choice_to_the_machine(device):
    device('auto')
    assert named_device() is None

def test_torch_gives_what_the_graph_gives_in_whole_and_half_precision(graph, batch):
    exact = OpenVINOEngine(graph.path, precision='f32')(batch)
    torch, half = (TorchEngine(graph.embedder, device='cpu', precision=p) for p in ('f32', 'f16'))
    assert (torch.precision, half.precision) == ('f32', 'bf16') # torch has no f16 on a CPU
    for name in ('embedding', 'feature_map'): assert np.allclose(torch(batch)[name], exact[name], atol=2e-3, rtol=2e-3)
    found = half(batch)['embedding']
    assert found.dtype == np.float32 and .99 < cosines(found, exact['embedding']).min() < .99999

def test_batches_of_torch_arrive_in_order_and_all_of_them(graph, batch):
    engine, came = TorchEngine(graph.embedder, device='cpu', precision='f32'), []
    for i in range(3): engine.start(batch[[i % 2]], lambda e, i=i: came.append((i, e)))
    assert len(came) == 2 # the last one may still be computed
    engine.wait()
    alone = engine(batch)['embedding']
    assert [i for i, _ in came] == [0, 1, 2] and all(cosines(e, alone[[i % 2]]).min() > .99999 for i, e in came)

def test_the_networks_of_a_saved_classifier_run_on_another_device(drawn, batch, tmp_path):
    clf = drawn(tmp_path)
    own = Classifier.load(clf.path)
    own.opened('engine', lambda: open_joined(own.views, own.levels, device='cpu'))
    usual, other = clf.predict(batch[0], k=2), own.predict(batch[0], k=2)
    assert other.top[0]['label'] == usual.top[0]['label'] and abs(other.top[0]['probability'] - usual.top[0]['probability']) < .02

@needs_gpu
def test_a_gpu_agrees_with_the_cpu(graph, batch):
    exact = OpenVINOEngine(graph.path, precision='f32')(batch)['embedding']
    for precision, least in (('f32', .999), ('f16', .99)):
        engine, came = open_engine(graph, device=here), []
        engine = TorchEngine(engine.embedder, device=here, precision=precision)
        engine.start(batch, came.append)
        engine.wait()
        assert cosines(came[0], exact).min() > least, precision

@needs_gpu
def test_a_gpu_trains_and_classifies(tmp_path, device):
    from tests.helpers import some_parts
    from quickcls.train.pipeline import train
    device(here)
    parts = some_parts(tmp_path/'parts', slice(0, 24))
    clf = train(parts, out=tmp_path/'m', arch='efficientnet_lite0', offline=True, quiet=True)
    found = Classifier.load(clf.path).predict(next(parts.glob('ok/*.jpg')))
    device('cpu')
    assert found.top[0]['label'] == Classifier.load(clf.path).predict(found.path).top[0]['label']
