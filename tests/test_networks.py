"The thesis's networks, the figures of the catalogue, weights that do not fit, and an earlier classifier as the start of the next"
import json, re, shutil
import pytest
from quickcls.backbones.registry import backbones, candidates, embedded, find_backbone, free, licence_of, parse_views, thesis
from quickcls.backbones.weights import Weights, choose_arch, earlier_views, get_weights, local_weights
from quickcls.backbones.body import create_body
from quickcls.features.benchmark import backbone_table, network_facts, table_text
from quickcls.core import QuickclsError
from tests.helpers import write_folder
from tests.test_backbones import quick, random_graph

# networks

@pytest.mark.slow
@pytest.mark.parametrize('name', [f'{n}@64' for n in thesis if n not in quick and n != embedded])
def test_networks_of_the_thesis_export(name):
    "Those that test_backbones does not export in a quick run, small: `export_graph` itself compares them with torch"
    graph, _ = random_graph(name)
    graph.path.unlink()
    assert graph.cosine >= .999

def test_the_thesis_is_eight_networks():
    assert len(set(thesis)) == 8 and set(thesis) <= set(backbones) and 'luna' in quick

@pytest.mark.parametrize('size', [64, 97, 300])
def test_luna_yields_four_maps(size):
    "Each half the side of the one before it, at any size"
    import torch
    with torch.inference_mode(): maps = create_body(parse_views(f'luna@{size}')[0])(torch.zeros(2, 3, size, size))
    assert [m.shape[1] for m in maps] == [32, 64, 128, 192]
    assert [m.shape[2] for m in maps] == [-(-size//2**i) for i in (1, 2, 3, 4)]

@pytest.mark.parametrize('offline', [True, False])
def test_luna_has_no_weights_to_be_had(offline):
    "One line that says what to do; nobody looks over the network"
    with pytest.raises(QuickclsError, match="luna.*strategy='scratch'") as e:
        get_weights(backbones['luna'], offline=offline)
    assert '\n' not in str(e.value)

# the catalogue

@pytest.mark.parametrize('name', [b for b, row in backbones.items() if not row.keypoints])
def test_parameters_and_depth_are_those_of_the_network(name):
    "What the table says is what is counted in the network"
    params, depth = network_facts(backbones[name])
    assert params == pytest.approx(backbones[name].params, abs=.01) and depth == backbones[name].depth

def test_the_table_fits_a_terminal(own_cache):
    "At most 120 columns, with times of both devices too; every pretrained row has every published figure"
    from quickcls.features.benchmark import keep_speed
    for device in ('cpu', 'cuda'): keep_speed(parse_views('inception_resnet_v2')[0], .8, device)
    t = backbone_table()
    text = table_text(t)
    assert max(map(len, text.splitlines())) <= 120 and '1250.0' in text and 'ms GPU' in text
    assert t[t.source != 'quickcls'][['params_m', 'mb', 'depth', 'top1', 'top1_size']].notna().all(axis=None)
    assert dict(zip(t.name, t.source))['alexnet'] == 'torchvision' and '56.5*' in text
    assert (
        dict(zip(t.name, t.weights))['luna'] == 'none: from scratch' and dict(zip(t.name, t.weights))['akaze-bow-svm'] == 'none: no network'
    )


def test_luna_is_measured_without_weights(own_cache):
    "Nothing but its shape decides how fast it is"
    from quickcls.features.benchmark import measure_speed
    speed = measure_speed('luna', .2)
    assert backbone_table('luna').ms_cpu[0] == pytest.approx(1000/speed, rel=.05, abs=.06)

# weights that fit, and that do not

@pytest.fixture(scope='module')
def state():
    "Weights of a ResNet-18"
    import timm, torch
    torch.manual_seed(1)
    return timm.create_model('resnet18').state_dict()

def save(state, path):
    import torch
    from safetensors.torch import save_file
    save_file(state, path) if path.suffix == '.safetensors' else torch.save(state, path)
    return path

def body(path, name='resnet18@64'):
    view, = parse_views(name)
    return create_body(view, get_weights(view.backbone, path))

@pytest.mark.parametrize('end', ['.pth', '.safetensors'])
@pytest.mark.parametrize('prefix', ['module.', 'backbone.', 'encoder.', 'module.model.'])
def test_a_prefix_is_stripped(tmp_path, state, prefix, end):
    "With another classifier beside it, or none"
    import torch
    renamed = {prefix + k: v for k, v in state.items() if not k.startswith('fc.')} | {'head.weight': torch.zeros(3, 512)}
    got = body(save(renamed, tmp_path/f'w{end}')).net.state_dict()
    assert all((v == state[k]).all() for k, v in got.items())

@pytest.mark.parametrize('end', ['.pth', '.safetensors'])
def test_what_differs_is_named(tmp_path, state, end):
    "Missing names, other shapes, and what the file has in their place; in one line"
    import torch
    odd = {k: v for k, v in state.items() if k != 'bn1.bias'} | {'conv1.weight': torch.zeros(64, 1, 7, 7), 'extra.weight': torch.zeros(1)}
    with pytest.raises(QuickclsError) as e: body(save(odd, tmp_path/f'w{end}'))
    said = str(e.value)
    assert '\n' not in said
    for fact in ('resnet18', '2 of 120', 'conv1.weight', '64×1×7×7', '64×3×7×7', 'bn1.bias', 'extra.weight'): assert fact in said, fact

def test_weights_of_another_network(tmp_path, state):
    "ResNet-18's for luna, and luna's for luna"
    with pytest.raises(QuickclsError, match='luna.*net.0.0.weight'):
        body(save(state, tmp_path / 'w.pth'), 'luna@64')
    own = create_body(parse_views('luna@64')[0]).state_dict()
    assert (body(save(own, tmp_path/'own.safetensors'), 'luna@64').state_dict()['net.3.3.weight'] == own['net.3.3.weight']).all()

# an earlier classifier as a start

@pytest.fixture(scope='module')
def earlier(tmp_path_factory, state):
    "A classifier whose body came from a file of weights: (its folder, the folder of images)"
    from quickcls.train.pipeline import train
    root = tmp_path_factory.mktemp('earlier')
    images = write_folder(root/'images', a=8, b=8)
    train(str(images), out=str(root/'model'), arch='resnet18', size=64, weights=str(save(state, root/'w.pth')), folds='0', quiet=True)
    return root/'model', images

def test_a_classifier_is_a_start(earlier, state):
    "`auto` takes its backbone and size, and the body is the one it had"
    from quickcls.model.learner import quick_learner
    folder, images = earlier
    assert earlier_views(folder) == [('resnet18', 64)] and choose_arch('auto', folder)[0] == 'resnet18@64'
    learn = quick_learner(images, weights=folder)
    assert str(learn.quick.views[0]) == 'resnet18@64'
    assert (learn.model[0].state_dict()['body.net.layer4.1.conv2.weight'] == state['layer4.1.conv2.weight']).all()

def test_training_goes_on_from_a_classifier(earlier, tmp_path):
    "The same body gives the same embeddings; the new classifier keeps it, and is a start in its turn, at another size too"
    import numpy as np
    from quickcls.train.pipeline import train
    from quickcls.model.classifier import Classifier
    folder, images = earlier
    new, old = train(str(images), out=str(tmp_path/'next'), weights=str(folder), folds='0', quiet=True), Classifier.load(folder)
    assert new.arch == 'resnet18@64' and new.body_state.keys() == old.body_state.keys()
    assert all(np.array_equal(new.body_state[k], old.body_state[k]) for k in old.body_state)
    p = next(images.rglob('*.png'))
    assert np.allclose(new.predict(p).top[0]['probability'], old.predict(p).top[0]['probability'], atol=.02)
    assert body(tmp_path/'next', 'resnet18@96').net.conv1.weight.shape == (64, 3, 7, 7)

def test_a_classifier_of_another_backbone(earlier):
    "Asked for ResNet-34, found ResNet-18"
    with pytest.raises(QuickclsError, match='resnet18.*resnet34'):
        get_weights(backbones['resnet34'], earlier[0])


def test_without_a_body_of_its_own(earlier, tmp_path):
    "A classifier that used published weights: those weights"
    folder = shutil.copytree(earlier[0], tmp_path/'plain')
    from safetensors.numpy import load_file, save_file
    save_file({k: v for k, v in load_file(folder/'weights.safetensors').items() if not k.startswith('body.')}, folder/'weights.safetensors')
    d = json.loads((folder/'classifier.json').read_text())
    d['views'][0]['backbone']['name'] = 'efficientnet_lite0'
    (folder/'classifier.json').write_text(json.dumps(d))
    assert get_weights(backbones['efficientnet_lite0'], folder).source == 'package'

@pytest.mark.parametrize(
    'name, source, key', [('vit_tiny_patch16_224', None, 'net.pos_embed'), ('mobilenetv2', 'torchvision', 'net.features.0.0.weight')]
)
def test_bodies_of_other_kinds(tmp_path, name, source, key):
    "Positions are resampled for another size; a body with torchvision's names is torchvision's again"
    import torch
    from safetensors.torch import save_file
    from quickcls.backbones.body import create_network
    net = create_network(find_backbone(name), torchvision=source == 'torchvision')
    view, = parse_views(name)
    own = create_body(view, Weights(save(net.state_dict(), tmp_path/'w.pth'), source)).state_dict()
    save_file({f'body.0.{k}': v.contiguous().clone() for k, v in own.items()}, tmp_path/'weights.safetensors')
    (tmp_path/'classifier.json').write_text(json.dumps(dict(views=[dict(backbone=dict(name=name), size=224)])))
    same, larger = (body(tmp_path, f'{name}@{size}') for size in (224, 256))
    assert (same.state_dict()[key] == own[key]).all()
    with torch.inference_mode(): assert larger(torch.zeros(1, 3, 256, 256))[-1].shape[2] in (8, 16)

def _view(folder, **changes):
    path = folder/'classifier.json'
    d = json.loads(path.read_text())
    d['views'][0].update(changes)
    path.write_text(json.dumps(d))

tampered = {
    'no json': lambda f: (f / 'classifier.json').unlink(),
    'bad json': lambda f: (f / 'classifier.json').write_text('[1, 2'),
    'a list': lambda f: (f / 'classifier.json').write_text('[]'),
    'no views': lambda f: (f / 'classifier.json').write_text('{"views": []}'),
    'name': lambda f: _view(f, backbone=dict(name=['resnet18'])),
    'size': lambda f: _view(f, size=10**9),
    'bytes': lambda f: (f / 'classifier.json').write_bytes(b'\xff\xfe\x00'),
    'weights cut': lambda f: (f / 'weights.safetensors').write_bytes((f / 'weights.safetensors').read_bytes()[:-100]),
    'no weights': lambda f: (f / 'weights.safetensors').unlink(),
    'empty weights': lambda f: (f / 'weights.safetensors').write_bytes(b''),
    'other body': lambda f: _rename(f, 'body.0.net.conv1', 'body.0.net.conv9'),
    'no such view': lambda f: _rename(f, 'body.0.', 'body.7.'),
}


def _rename(folder, old, new):
    from safetensors.numpy import load_file, save_file
    arrays = load_file(folder/'weights.safetensors')
    save_file({k.replace(old, new): v for k, v in arrays.items()}, folder/'weights.safetensors')

@pytest.mark.parametrize('kind', tampered)
def test_a_tampered_folder_is_one_line(earlier, tmp_path, kind):
    "Whatever was done to it, one line names the folder"
    folder = shutil.copytree(earlier[0], tmp_path/'tampered')
    tampered[kind](folder)
    with pytest.raises(QuickclsError, match='tampered') as e:
        arch, _ = choose_arch('auto', folder)
        body(folder, arch)
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('arch, said', [('resnet34+tiny_vit_21m', ''), ('luna', ''), ('dla60_res2net', 'nobody says'),
                                        ('convnextv2_tiny.fcmae_ft_in1k', 'not for commercial use.*nc-4.0'),
                                        ('resnet34+mobileone_s0', 'mobileone_s0 have their own terms')])
def test_licences_that_forbid_something_are_told(arch, said):
    "Whoever names such weights reads it at once; nothing is chosen by itself that is not free"
    _, note = choose_arch(arch)
    assert re.search(said, note) if said else note is None

def test_what_is_chosen_by_itself_is_free():
    "A quality, a preset and `auto` take networks of the table only: all are free, and timm says the same of its own"
    import timm
    for b in backbones.values():
        if b.scratch or b.keypoints: continue
        own = b.timm and timm.get_pretrained_cfg(b.timm)
        assert licence_of(b) in free and (not own or licence_of(b) == own.license), b.name

def test_candidates_are_compared(tmp_path):
    "`--preset backbones` measures the candidates whose weights are here, and names the others"
    from quickcls.compare.command import compare
    folder = write_folder(tmp_path/'data', cat=8, dog=8)
    t = compare(folder, preset='backbones', out=tmp_path/'c', offline=True, quiet=True)
    here = [n for n in candidates if local_weights(backbones[n])]
    assert embedded in here and sorted(t.ran.arch) == sorted(here)
    assert sorted(s.arch for s in t.skipped) == sorted(set(candidates) - set(here))

def test_a_quality_says_what_would_be_stronger(tmp_path):
    "Only whoever asked for quality and may use a network reads it"
    from quickcls.train.options import Training, stronger_networks
    asked = Training(tmp_path/'my cats', quality='best')
    assert stronger_networks(asked).endswith(f"quickcls compare '{tmp_path}/my cats' --preset backbones")
    assert stronger_networks(asked.replace(offline=True)) is None and stronger_networks(Training(tmp_path)) is None
