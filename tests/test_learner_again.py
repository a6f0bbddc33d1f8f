"A saved classifier trains further as a fastai Learner: from where it was, with every head"
import json
import numpy as np, pytest
from tests.helpers import some_parts
from tests.test_parity import probs_of

heads = ['linear', 'ridge', 'svm', 'fastai', 'mlp:16']
arch = 'efficientnet_lite0@64'

@pytest.fixture(scope='module')
def few(tmp_path_factory): return some_parts(tmp_path_factory.mktemp('few')/'parts', slice(12))

@pytest.fixture
def exact(monkeypatch): monkeypatch.setenv('QUICKCLS_PRECISION', 'f32')

@pytest.fixture(scope='module')
def saved(few, tmp_path_factory):
    "Function: head and levels → a classifier, made once, without the report of `train`"
    from quickcls.all import Classifier, scan_folder
    from quickcls.backbones.registry import parse_views
    from quickcls.data.split import split_items
    from quickcls.features.embed import Embeddings
    from quickcls.backbones.onnx_graph import get_graph
    from quickcls.heads.fit import fit_head
    made, (view,) = {}, parse_views(arch)
    def of(head, levels='all'):
        if (head, levels) not in made:
            items, embeddings = split_items(scan_folder(few)), Embeddings([get_graph(view)], levels)
            embeddings.embed(items)
            sides = embeddings.splits(items)
            fitted = fit_head(head, sides['train'], sides['valid'], n_out=2, epochs=3)
            clf = Classifier(items.vocab, [view], levels, fitted, 1.3, None, dict(data=dict(folder=str(few))), embeddings.graphs)
            made[head, levels] = clf.save(tmp_path_factory.mktemp('saved')/'m').path
        return Classifier.load(made[head, levels])
    return of

def said_by(learn, paths):
    "[n, classes] of a Learner, one image at a time"
    with learn.no_bar(): return np.array([learn.predict(p)[2].numpy() for p in paths])

def images(few): return sorted(few.glob('*/*.jpg'))[::9]

def loss_of(learn): return learn.recorder.values[-1][0]

@pytest.mark.parametrize('head,levels', [*((h, 'all') for h in heads), ('linear', 'last'), ('fastai', 'last')])
def test_every_head_trains_on(few, saved, exact, tmp_path, head, levels):
    "The same predictions before, a finite loss, and what is saved afterwards says what the Learner says"
    from quickcls.all import Classifier
    clf, paths = saved(head, levels), images(few)
    learn = clf.to_learner(few, bs=8, train_bn=False) # the network stays as it is, so its graph is there
    np.testing.assert_allclose(said_by(learn, paths), probs_of(clf, paths), atol=1e-4)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-4)
        assert np.isfinite(loss_of(learn))
        again = Classifier.from_learner(learn).save(tmp_path/'again')
        assert again.head.kind == head
        np.testing.assert_allclose(probs_of(again, paths), said_by(learn, paths), atol=1e-4)
        learn.unfreeze()
        learn.fit_one_cycle(1, 1e-5)
        assert np.isfinite(loss_of(learn))

def test_a_changed_network_is_saved_with_its_head(few, saved, exact, tmp_path):
    "fine_tune, saved, and opened as a Learner once more"
    from quickcls.all import Classifier
    learn, paths = saved('linear').to_learner(few, bs=8), images(few)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1)
    assert np.isfinite(loss_of(learn))
    again = Classifier.from_learner(learn).save(tmp_path/'again')
    np.testing.assert_allclose(probs_of(again, paths), said_by(learn, paths), atol=1e-3)
    np.testing.assert_allclose(said_by(again.to_learner(few), paths), said_by(learn, paths), atol=1e-5)

@pytest.mark.parametrize('temperature', [1, .3])
@pytest.mark.parametrize('head', heads)
def test_the_torch_head_is_the_head(few, saved, exact, head, temperature):
    "On embeddings, to 1e-5; its eps is above 0 whatever the file says, as batch norm needs to learn"
    import torch
    from quickcls.heads.head import from_torch, to_torch
    clf = saved(head)
    x = clf.embed([np.stack([clf.prepare(p)[0] for p in images(few)])])
    net = to_torch(clf.head.scaled(temperature))
    with torch.inference_mode(): got = net(torch.from_numpy(x)).softmax(1).numpy()
    np.testing.assert_allclose(got, clf.head.probs(x, temperature), atol=1e-5)
    np.testing.assert_allclose(from_torch(net, head).probs(x), got, atol=1e-5)
    assert all(m.eps > 0 and (m.running_var > 0).all() for m in net if hasattr(m, 'eps'))
    if head in ('linear', 'ridge', 'svm'): assert json.loads((clf.path/'classifier.json').read_text())['head']['layers'][0]['eps'] == 0

def test_tiny_variances_keep_their_predictions():
    "Columns whose variance lies far below torch's usual eps of 1e-5"
    import torch
    from quickcls.heads.head import to_torch
    from quickcls.heads.linear import fit_linear
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.normal(size=(60, 8)) + y[:, None]*np.arange(8))*np.logspace(-6, 2, 8)
    head = fit_linear(x.astype(np.float32), y, c=.1)
    net = to_torch(head)
    with torch.inference_mode(): got = net(torch.from_numpy(x.astype(np.float32))).softmax(1).numpy()
    np.testing.assert_allclose(got, head.probs(x.astype(np.float32)), atol=1e-5)
    assert torch.isfinite(net.train()(torch.from_numpy(x.astype(np.float32)))).all()

@pytest.mark.parametrize('head', heads)
def test_fit_head_goes_on_from_the_trained_head(few, saved, exact, head):
    "At a rate near 0 its weights stay, and its statistics, which are of these images already, stay near; at a usual one the loss is finite"
    from quickcls.model.learner import head_layers
    clf, paths = saved(head), images(few)
    learn = clf.to_learner(few, bs=8)
    def weights(): return [m.weight.detach().clone().numpy() for m in head_layers(learn.model) if type(m).__name__ == 'Linear']
    before, were = said_by(learn, paths), weights()
    with learn.no_bar(), learn.no_logging():
        learn.fit_head(1, 1e-9)
        for a, b in zip(weights(), were): np.testing.assert_allclose(a, b, atol=1e-6)
        np.testing.assert_allclose(said_by(learn, paths), before, atol=.1)
        learn.fit_head(2)
    assert np.isfinite(loss_of(learn))
