"Every network builds, exports and agrees with torch; names, weights and the network fail in one line, soon"
import re, socket, subprocess, sys, threading, time
import numpy as np
import pytest
from quickcls.backbones import weights as bb
from quickcls.backbones.registry import backbones, embedded, find_backbone, parse_views
from quickcls.backbones.weights import choose_arch, get_weights, hub_reachable, local_weights
from quickcls.features.benchmark import backbone_table
from quickcls.core import QuickclsError
from quickcls.backbones.engines import OpenVINOEngine, TorchEngine, open_engine
from tests.helpers import image, repo

quick = ['luna', 'resnet18', 'convnext_tiny', 'vit_small', 'alexnet', 'mobilenetv3']
others = ['squeezenet1_1', 'regnety_016', 'shufflenet_v2_x1_0', 'googlenet', 'pvt_v2_b0', 'vit_small_patch14_dinov2',
          'maxvit_tiny_tf_224', 'efficientnet_lite0@320', 'vit_small@320', 'swin_tiny@256', 'swin_tiny@250', 'vit_small@250']

def images(view, n=3):
    "Images of a batch, uint8"
    return np.stack([np.asarray(image(i, view.size, view.size)) for i in range(n)])

def cosine(a, b):
    "Lowest agreement of rows"
    a, b = a.reshape(len(a), -1).astype(float), b.reshape(len(b), -1).astype(float)
    return ((a*b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()

def random_graph(name, **kw): # (graph, body)
    import torch
    from quickcls.backbones.body import create_body
    from quickcls.backbones.onnx_graph import export_graph
    torch.manual_seed(0)
    view, = parse_views(name)
    return export_graph(body := create_body(view), view, digest=f'random-{view}', **kw), body

@pytest.fixture(scope='module')
def exported(request):
    "(graph, body) of a network with random weights; exported once for the tests that stand below one another"
    graph, body = random_graph(request.param)
    yield graph, body
    graph.path.unlink()

@pytest.fixture(scope='module')
def lite():
    "The graph of the embedded backbone, small"
    from quickcls.backbones.onnx_graph import get_graph
    return get_graph(parse_views(f'{embedded}@96')[0])

@pytest.fixture
def no_weights(tmp_path, monkeypatch, own_cache):
    "A machine without downloaded weights, that thinks it has a network"
    for k in ('HF_HUB_OFFLINE', 'HF_HUB_CACHE', 'HF_ENDPOINT', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))


# networks

@pytest.mark.parametrize(
    'exported',
    [
        pytest.param(n, marks=[] if n in quick else pytest.mark.slow)
        for n in [*quick, *others, *(b for b, row in backbones.items() if b not in quick and not row.keypoints)]
    ],
    indirect=True,
)
def test_networks_export(exported):
    "Builds, exports, agrees with torch; the embedding opens with maximum and average of the feature map"
    import torch
    graph, body = exported
    out = OpenVINOEngine(graph.path, precision='f32')(x := images(graph.view))
    e, m = out['embedding'], out['feature_map']
    n, nf, h, w = m.shape
    assert graph.cosine >= .999 and e.shape == (3, graph.dim) and nf == graph.nf
    assert h == w <= graph.view.size//7, 'the feature map is not [n, channels, h, w]'
    assert nf == getattr(body.net, 'num_features', nf) # timm's word
    assert np.allclose(e[:, :nf], m.max((2, 3)), atol=1e-3) and np.allclose(e[:, nf:2*nf], m.mean((2, 3)), atol=1e-3)
    with torch.inference_mode():
        maps = body(
            (torch.from_numpy(x).permute(0, 3, 1, 2).float() - torch.tensor(graph.view.backbone.stats[0]).view(1, 3, 1, 1) * 255)
            / (torch.tensor(graph.view.backbone.stats[1]).view(1, 3, 1, 1) * 255)
        )
    assert graph.dim == 2*sum(t.shape[1] for t in maps) and cosine(m, maps[-1].numpy()) > .999
    assert all(t.shape[2] == t.shape[3] for t in maps) and np.isfinite(e).all()

@pytest.mark.parametrize('exported', ['vit_small', 'swin_tiny', 'resnet18', 'alexnet'], indirect=True)
def test_every_kind_of_network_gives_a_heat_map(exported):
    "Random weights; the stages that were found pool to the very embedding of the graph"
    from quickcls.explain.attribution import look
    from quickcls.explain.heatmap import heat_map
    from quickcls.heads.linear import fit_linear
    from quickcls.model.classifier import Classifier
    graph, view = exported[0], exported[0].view
    x = images(view, 6)
    e = OpenVINOEngine(graph.path, precision='f32')(x)['embedding']
    clf = Classifier(['a', 'b'], [view], 'all', fit_linear(e, np.arange(6) % 2, c=.1), graphs=[graph], precision='f32')
    assert np.allclose([s.x for s in look(clf, [x])], e, atol=1e-3*np.abs(e).max())
    heat, fine = heat_map(clf, image(9)), heat_map(clf, image(9), size=2*view.size)
    n = {'vit_small': 14, 'alexnet': 6}.get(view.backbone.name, 7)
    assert heat.cells.shape == (n, n) and fine.cells.shape == (2*n, 2*n) and np.isfinite(fine.cells).all() and np.ptp(heat.cells) > 0
    assert fine.cells.sum() == pytest.approx(heat.cells.sum(), abs=1e-3)

@pytest.mark.parametrize('name', ['swin_t', 'vit_b_16', 'resnet18', 'densenet121', pytest.param('maxvit_t', marks=pytest.mark.slow)])
def test_torchvision_maps_are_maps(name):
    "What a trace of a torchvision network calls a stage is one, with channels first; networks without maps are refused"
    import torch
    from dataclasses import replace
    from quickcls.backbones.body import create_body
    view, = parse_views(name)
    view = replace(view, backbone=replace(view.backbone, timm=None, torchvision=name))
    try: maps = create_body(view)(torch.zeros(1, 3, view.size, view.size))
    except QuickclsError as e: assert 'torchvision' in str(e)
    else: assert all(m.shape[2] == m.shape[3] for m in maps), [tuple(m.shape) for m in maps]

def test_the_graph_of_other_batches(lite):
    "One image or nine: the same numbers, whatever the others in the batch are"
    run = OpenVINOEngine(lite.path, precision='f32')
    nine, one = (run(images(lite.view, n))['embedding'] for n in (9, 1))
    assert np.allclose(nine[:1], one, atol=1e-3)

def test_engines_agree(lite):
    "Torch and OpenVINO give the same embeddings and maps; later answers are those of now"
    x = images(lite.view, 5)
    a, b = OpenVINOEngine(lite.path, precision='f32')(x), TorchEngine(lite.embedder, device='cpu')(x)
    assert cosine(a['embedding'], b['embedding']) > .999 and cosine(a['feature_map'], b['feature_map']) > .999
    later, engine = {}, open_engine(lite, device='cpu', streams=2)
    for i in range(5): engine.start(x[i:i+1], lambda e, i=i: later.update({i: e}))
    engine.wait()
    assert cosine(np.concatenate([later[i] for i in range(5)]), a['embedding']) > .99 # the engine may choose 16 bits

def test_a_network_runs_either_now_or_later(lite):
    "Both with one network mixed batches on a busy machine"
    x, now, later = images(lite.view, 1), OpenVINOEngine(lite.path), OpenVINOEngine(lite.path)
    now(x)
    with pytest.raises(QuickclsError, match='runs batches now, and was asked to run one later'): now.start(x, print)
    later.start(x, lambda e: None)
    later.wait()
    with pytest.raises(QuickclsError, match='runs batches later, and was asked to run one now'): later(x)

def test_an_engine_that_is_dropped_never_hangs():
    "Python is busy in other threads while networks are deleted right after their last batch"
    code = """
import os, sys, threading, numpy as np
from quickcls.backbones.engines import OpenVINOEngine
for _ in range(2): threading.Thread(target=lambda: [sum(range(3000)) for _ in iter(int, 1)], daemon=True).start()
for _ in range(8):
    engine, came = OpenVINOEngine(sys.argv[1], streams=2), []
    shape = [1, *(d.get_length() for d in list(engine.compiled.inputs[0].partial_shape)[1:])]
    for i in range(3): engine.start(np.zeros(shape, np.uint8), lambda e, i=i: came.append(i))
    engine.wait()
    assert came == [0, 1, 2]
    del engine
os._exit(0) # the busy threads never end
"""
    net = repo/'tests'/'fixtures'/'saved_classifiers'/'net'/'model.onnx'
    subprocess.run([sys.executable, '-c', code, str(net)], check=True, timeout=90, cwd=repo)

def test_a_gpu_agrees(lite):
    "CUDA against OpenVINO, in f32"
    import torch
    if not torch.cuda.is_available(): pytest.skip('no CUDA device')
    x = images(lite.view, 5)
    a, b = OpenVINOEngine(lite.path, precision='f32')(x), TorchEngine(lite.embedder, device='cuda')(x)
    assert cosine(a['embedding'], b['embedding']) > .999

def test_the_embedded_weights_are_trained(lite):
    "The weights of the package are read: flowers differ less from flowers than from a temple"
    from sklearn.datasets import load_sample_images
    from quickcls.data.images import load_image
    temple, flower = load_sample_images().images
    x = np.stack([np.asarray(load_image(a, 96)) for a in (temple, flower, flower[:, ::-1])])
    e = OpenVINOEngine(lite.path, precision='f32')(x)['embedding'][:, lite.nf:2*lite.nf]
    assert lite.weights == 'package' and cosine(e[1:2], e[2:]) > cosine(e[1:2], e[:1]) + .2

def test_a_graph_is_exported_once(lite, graphs_of, tmp_path, monkeypatch):
    "A second look reads the cache; a graph that was cut short is made again"
    from quickcls.backbones import onnx_graph
    made, export, get_graph = [], onnx_graph.export_graph, onnx_graph.get_graph
    monkeypatch.setattr(onnx_graph, 'export_graph', lambda *args, **kwargs: made.append(1) or export(*args, **kwargs))
    assert get_graph(lite.view) == lite and not made
    with graphs_of(f'{embedded}@96', tmp_path/'cache'):
        path, size = tmp_path/'cache'/'graphs'/lite.path.name, lite.path.stat().st_size
        path.write_bytes(path.read_bytes()[:5000])
        assert get_graph(lite.view).dim == lite.dim and len(made) == 1
        assert path.stat().st_size > size*.99

def test_a_graph_knows_its_weights(tmp_path, lite):
    "A graph from a file that the user names: torch takes that file as well, not the weights of the package"
    import timm, torch
    from quickcls.backbones.onnx_graph import get_graph
    torch.manual_seed(0)
    torch.save(timm.create_model(lite.view.backbone.timm.split('.')[0]).state_dict(), tmp_path/'own.pth')
    graph = get_graph(lite.view, weights=tmp_path/'own.pth')
    assert graph.digest != lite.digest and graph.weights == 'file'
    x = images(graph.view)
    assert (
        cosine(OpenVINOEngine(graph.path, precision='f32')(x)['embedding'], TorchEngine(graph.embedder, device='cpu')(x)['embedding'])
        > 0.999
    )


@pytest.mark.parametrize('kind, said', [('disagrees', 'disagrees with torch'), ('cannot', 'cannot be exported')])
def test_graphs_that_fail_leave_nothing(own_cache, kind, said):
    "A graph that differs from torch, or that cannot be exported: one line without colours of a terminal, and no file"
    import torch
    from quickcls.backbones.onnx_graph import export_graph
    class Body(torch.nn.Module):
        def forward(self, x):
            if kind == 'cannot' and x.mean() > 0: return [x*2, x]
            return [x[:, :, ::4], x if torch.compiler.is_exporting() else x.flip(1)*x]
    with pytest.raises(QuickclsError, match=said) as e: export_graph(Body().eval(), parse_views('resnet18@64')[0], digest='random-fails')
    assert not list((own_cache/'graphs').iterdir())
    assert '\n' not in str(e.value) and '\x1b' not in str(e.value)

# names

@pytest.mark.parametrize(
    'name, near',
    [
        ('resnet33', 'resnet34'),
        ('ResNets34', 'resnet34'),
        ('efficientnet-lite', 'efficientnet_lite0'),
        ('conv_next_tinny', 'convnext_tiny'),
        ('xyzzyqqq', 'quickcls backbones'),
        ('', 'quickcls backbones'),
    ],
)
def test_unknown_names_give_the_nearest(name, near):
    "A slip of the finger: the names that are near"
    with pytest.raises(QuickclsError, match='Unknown backbone') as e: find_backbone(name)
    assert near in str(e.value)

def test_the_nearest_names_are_given_once():
    "Our name, timm's and torchvision's are often the same"
    with pytest.raises(QuickclsError) as e: find_backbone('resnet33')
    near = re.search('Did you mean (.*)\\?', str(e.value))[1].split(' or ')
    assert len(near) == len(set(near)), near

def test_unknown_tags_are_explained():
    "A network of timm with weights that it never had"
    with pytest.raises(QuickclsError, match='a1_in1k'): find_backbone('resnet18.zzz')

def test_all_names_are_found():
    "Each name of timm and torchvision has a row with a size and statistics"
    import timm, torchvision
    for name in timm.list_models() + torchvision.models.list_models(module=torchvision.models):
        b = find_backbone(name)
        assert b.size >= 32 and [len(s) for s in b.stats] == [3, 3], name

@pytest.mark.parametrize(
    'arch, said',
    [
        ('resnet18@big', 'names no size'),
        ('resnet18@8', '32 to 1024'),
        ('resnet18@5000', '32 to 1024'),
        ('resnet18+', 'Unknown backbone'),
        ('resnet18,resnet34', 'comma'),
    ],
)
def test_views_that_are_none(arch, said):
    "Sizes out of reach and empty names"
    with pytest.raises(QuickclsError, match=said): parse_views(arch)

@pytest.mark.parametrize('arch', ['inception_v3@64', 'maxvit_tiny_tf_224@250', 'alexnet@32'])
def test_sizes_that_a_network_cannot_take(arch):
    "A network that cannot work at a size says so in one line"
    from quickcls.backbones.body import create_body
    with pytest.raises(QuickclsError): create_body(parse_views(arch)[0])

def test_the_table():
    "A row a backbone; patterns of names; names of timm that stand in no row"
    assert list(backbone_table().name) == list(backbones)
    assert set(backbone_table('resnet*').name) == {b for b in backbones if b.startswith('resnet')}
    assert list(backbone_table('regnety_016').name) == ['regnety_016']
    with pytest.raises(QuickclsError, match='matches'): backbone_table('*zzz*')

# weights

def test_a_missing_file():
    "A file of weights that is not there"
    with pytest.raises(QuickclsError, match='nowhere.pth'): get_weights(backbones['resnet18'], 'nowhere.pth')

@pytest.fixture(scope='module')
def resnet18_state():
    import timm
    return timm.create_model('resnet18').state_dict()

def body_from(path, name='resnet18'):
    from quickcls.backbones.body import create_body
    return create_body(parse_views(name)[0], get_weights(backbones[name], path))

def test_the_wrong_file_names_what_differs(tmp_path, resnet18_state):
    "Weights of another network: the first parameters that differ"
    import torch
    torch.save(resnet18_state, tmp_path/'w.pth')
    with pytest.raises(QuickclsError, match=r'resnet34.*\d+ of \d+ .*layer1.2'):
        body_from(tmp_path / 'w.pth', 'resnet34')


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: s,
        lambda s: dict(state_dict=s, epoch=3),
        lambda s: dict(model={f'module.{k}': v for k, v in s.items()}),
        lambda s: {k: v for k, v in s.items() if not k.startswith('fc.')},
    ],
    ids=['plain', 'checkpoint', 'parallel', 'headless'],
)
def test_files_that_fit(tmp_path, resnet18_state, wrap):
    "A state dict as training scripts leave it, with a head or without"
    import torch
    torch.save(wrap(resnet18_state), tmp_path/'w.pth')
    assert (body_from(tmp_path/'w.pth').net.state_dict()['layer4.1.conv2.weight'] == resnet18_state['layer4.1.conv2.weight']).all()

def test_safetensors_fit(tmp_path, resnet18_state):
    "The safe format"
    from safetensors.torch import save_file
    save_file(resnet18_state, tmp_path/'w.safetensors')
    body_from(tmp_path/'w.safetensors')

class _Evil:
    def __reduce__(self): return print, ('executed',)

@pytest.mark.parametrize('kind', ['pickle', 'text', 'empty', 'model', 'list', 'broken.safetensors'])
def test_files_that_hold_no_weights(tmp_path, capsys, kind):
    "Nothing in a file is executed, and whatever it is, one line says that it holds no weights"
    import pickle, timm, torch
    path = tmp_path/(kind if '.' in kind else f'{kind}.pth')
    if kind == 'pickle': path.write_bytes(pickle.dumps(_Evil()))
    elif kind == 'model': torch.save(timm.create_model('resnet18'), path)
    elif kind == 'list': torch.save([torch.zeros(1)], path)
    else: path.write_bytes(b'' if kind == 'empty' else b'not weights at all, but text')
    with pytest.raises(QuickclsError, match=path.name) as e: body_from(path)
    assert '\n' not in str(e.value) and 'executed' not in capsys.readouterr().out

def test_the_embedded_backbone_is_always_there(no_weights):
    "Its weights are in a package, and offline is enough"
    assert local_weights(backbones[embedded]).source == get_weights(backbones[embedded], offline=True).source == 'package'

# the network

@pytest.fixture
def hanging(monkeypatch, no_weights):
    "A network that takes every connection and never answers; how often it was tried"
    tried, end = [], threading.Event()

    def connect(*a, **kw):
        tried.append(a)
        end.wait(30)
        raise OSError('ended')

    monkeypatch.setattr(socket, 'create_connection', connect)
    monkeypatch.setattr(socket.socket, 'connect', connect)
    yield tried
    end.set()

def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

def test_a_hanging_network_is_waited_for_once(hanging):
    "Under six seconds the first time, none the second; an hour later it is tried again"
    assert seconds(lambda: choose_arch('auto')) < 6 and len(hanging) == 1
    def look():
        with pytest.raises(QuickclsError, match='remembered'): get_weights(backbones['resnet34'])
    assert seconds(look) < .5 and len(hanging) == 1

def test_a_closed_door_is_remembered_for_an_hour(hanging, monkeypatch, own_cache):
    "What was not reached is not tried again, until the hour is over"
    import os
    monkeypatch.setattr(bb, 'patience', .1)
    assert not hub_reachable() and not hub_reachable() and len(hanging) == 1
    mark = own_cache/'hub-not-reached'
    os.utime(mark, (time.time() - 3601,)*2)
    assert not hub_reachable() and len(hanging) == 2

def test_an_open_door_is_entered(no_weights, monkeypatch, own_cache):
    "A hub that answers is reachable, and an old mark goes"
    class Door:
        def close(self): pass
    monkeypatch.setattr(socket, 'create_connection', lambda *a, **kw: Door())
    assert hub_reachable() and not (own_cache/'hub-not-reached').exists()

@pytest.mark.parametrize('offline', ['argument', 'variable'])
def test_offline_tries_nothing(hanging, monkeypatch, offline):
    "Neither --offline nor HF_HUB_OFFLINE opens a connection, and the error says what to do"
    if offline == 'variable': monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(QuickclsError, match=f'weights=.*arch=.{embedded}'):
        get_weights(backbones['resnet34'], offline=offline == 'argument')
    assert not hanging

def test_auto_means_what_is_there(no_weights):
    "Without resnet34, auto is the embedded backbone, and says why; a name stays a name"
    arch, why = choose_arch('auto', offline=True)
    assert arch == embedded and 'resnet34' in why
    assert choose_arch('vit_small') == ('vit_small', None)
