"Networks that learn: better than the head alone, stopped and gone on with, kept at epoch 0, from scratch; advice"
from dataclasses import replace
import numpy as np, pytest
from quickcls.model import finetune as module
from quickcls.backbones.registry import parse_views
from quickcls.core import QuickclsError
from quickcls.data.items import scan_folder
from quickcls.data.split import split_items
from quickcls.model.auto import advise
from quickcls.model.early_stopping import rates
from quickcls.model.finetune import tune
from tests.helpers import halves, repo

views = parse_views('efficientnet_lite0', 96)
quick = dict(head='linear', levels='all', epochs=2, say=lambda text: None)

@pytest.fixture(scope='module')
def parts(): return split_items(scan_folder(repo/'datasets'/'parts'), seed=42)

@pytest.fixture(scope='module')
def few(parts):
    "Forty images to learn from and be watched, twenty held out"
    t = parts.table
    return replace(parts, table=t.groupby(['label', 'split']).head(20).reset_index(drop=True))

@pytest.fixture(scope='module')
def head_alone(parts):
    "(embeddings of the parts, the head that `train` makes)"
    embeddings = module.Embeddings([room_graph()])
    embeddings.embed(parts)
    x, y = embeddings.splits(parts)['train']
    return embeddings, module.fit_head(
        'linear', (x, y), (x, y), n_out=2, groups=parts.table.group[parts.table.split == 'train'].to_numpy(), seed=42
    )


def room_graph():
    from quickcls.backbones.onnx_graph import get_graph
    return get_graph(views[0], offline=True)

@pytest.fixture
def own_tuning(graphs_of, tmp_path):
    "A cache folder with the graph of the views, in which no other test keeps a network that is being tuned"
    with graphs_of(str(views[0]), tmp_path/'cache'): yield

def held_out(items): return items.table[items.table.split == 'valid']
def accuracy(logits, items): return float((logits.argmax(1) == held_out(items).label.map(items.vocab.index).to_numpy()).mean())

class Stop(KeyboardInterrupt): "Somebody pressed Ctrl-C"

def stopping(epoch, batch=None):
    "fastai `Callback` that ends everything after an epoch, or within the one after it"
    from fastai.callback.core import Callback
    class Stopping(Callback):
        order = 99
        def after_epoch(self):
            if batch is None and self.epoch + 1 == epoch: raise Stop
        def after_batch(self):
            if self.training and (self.epoch, self.iter) == (epoch, batch): raise Stop
    return Stopping()

@pytest.mark.slow
def test_all_of_the_network_is_no_worse_than_the_head(parts, head_alone, own_tuning):
    embeddings, head = head_alone
    tuned = tune(parts, views, strategy='full', seed=42, **quick | dict(epochs=3))
    assert accuracy(tuned.logits(held_out(parts)), parts) >= accuracy(head.logits(embeddings.read(held_out(parts))), parts)
    assert [r['epoch'] for r in tuned.history] == [1, 2, 3] and not list(module.cache_dir('tuning').iterdir())
    assert tuned.logits(tuned.validation) == pytest.approx(tuned.validation_logits)

def test_early_blocks_stay_and_the_saved_classifier_says_the_same(few, tmp_path, monkeypatch):
    "`partial` leaves them bit by bit, and what is saved answers as the network does"
    from quickcls.backbones.body import create_body
    from quickcls.backbones.weights import get_weights
    from quickcls.model.classifier import Classifier
    from quickcls.model.learner import body_blocks, body_list
    monkeypatch.setattr(module, 'validation_pct', .3)
    monkeypatch.setitem(rates, 'partial', (1e-4, 3e-3, 1e-4))
    monkeypatch.setenv('QUICKCLS_PRECISION', 'f32') # at such a rate the network shouts, and what bf16 rounds is a matter of whole logits
    tuned = tune(few, views, strategy='partial', unfreeze=2, **quick | dict(epochs=1, head='fastai'))
    before, after = (
        body_blocks(b) for b in (create_body(views[0], get_weights(views[0].backbone, offline=True)), body_list(tuned.learn.model)[0])
    )
    same = [all(p.equal(q) for p, q in zip(a, b)) for a, b in zip(before, after)]
    assert all(same[:-2]) and (tuned.best_epoch == 0 or not any(same[-2:]))
    rows = held_out(few)
    clf = Classifier(few.vocab, views, 'all', tuned.head(), graphs=tuned.graphs()).save(tmp_path/'clf')
    live = tuned.logits(rows)
    answers = [{t['label']: t['probability'] for t in Classifier.load(tmp_path/'clf').predict(p).top} for p in rows.path[:4]]
    said = np.array([[a[c] for c in few.vocab] for a in answers])
    assert said == pytest.approx(np.exp(live[:4])/np.exp(live[:4]).sum(1, keepdims=True), abs=.001)

@pytest.mark.slow
@pytest.mark.parametrize('strategy, batch', [('partial', None), ('scratch', 1)])
def test_goes_on_where_it_was_stopped(few, own_tuning, strategy, batch):
    "After an epoch or within the next one: the end is that of a fit that was left alone; a damaged file starts anew"
    given = quick | dict(strategy=strategy, bs=8)
    seen = views if strategy == 'partial' else parse_views('luna', 48)
    whole = tune(few, seen, **given)
    def stopped():
        with pytest.raises(Stop): tune(few, seen, **given, cbs=[stopping(1, batch)])
        return next(module.cache_dir('tuning').glob('*.pt'))
    lines = []
    path = stopped()
    again = tune(few, seen, **given | dict(say=lines.append))
    assert 'epoch 1' in lines[0] and not path.exists()
    assert again.logits(held_out(few)) == pytest.approx(whole.logits(held_out(few)), abs=1e-4) and [
        r['valid_loss'] for r in again.history
    ] == pytest.approx([r['valid_loss'] for r in whole.history], abs=1e-4)
    path = stopped()
    path.write_bytes(path.read_bytes()[:2000])
    assert tune(few, seen, **given).logits(held_out(few)) == pytest.approx(whole.logits(held_out(few)), abs=1e-4)

def test_the_head_alone_is_kept_where_nothing_is_better(parts, head_alone, monkeypatch):
    "And is the very head that `train` makes: it has learned from the watched images too"
    monkeypatch.setitem(rates, 'full', (.1, .1, .1))
    lines = []
    tuned = tune(parts, views, strategy='full', seed=42, **quick | dict(epochs=1, say=lines.append))
    assert tuned.best_epoch == 0 and 'head' in lines[-1]
    assert [g.digest for g in tuned.graphs()] == [room_graph().digest]
    assert tuned.head().arrays['1.weight'] == pytest.approx(head_alone[1].arrays['1.weight'], abs=1e-5)
    x = head_alone[0].read(tuned.validation)
    assert np.abs(tuned.validation_logits - head_alone[1].logits(x)).max() > .01 # those are of a head that had not

def test_from_scratch_learns_and_needs_no_weights(tmp_path, monkeypatch):
    "Which of two colours is above, from 40 images"
    from quickcls.backbones import weights as backbones
    monkeypatch.setattr(backbones, 'get_weights', lambda *a, **k: pytest.fail('weights were asked for'))
    rng = np.random.default_rng(0)
    for label, turned in (('above', False), ('below', True)):
        (tmp_path/'colours'/label).mkdir(parents=True)
        for i in range(40):
            two = [tuple(int(v) for v in c) for c in (rng.integers(150, 255, 3)*(1, .3, .3), rng.integers(150, 255, 3)*(.3, .3, 1))]
            halves(*two[::-1 if turned else 1]).save(tmp_path/'colours'/label/f'{i:02}.png')
    colours = split_items(scan_folder(tmp_path/'colours'), valid_pct=.5)
    tuned = tune(colours, parse_views('luna', 48), strategy='scratch', **quick | dict(epochs=6, bs=8, augment='fastai'))
    assert accuracy(tuned.logits(held_out(colours)), colours) > .9 and tuned.best_epoch > 0

def test_errors(few):
    for given, told in (
        (dict(strategy='full', views=parse_views('luna')), '--strategy scratch'),
        (dict(strategy='head'), 'partial.*full.*scratch'),
        (dict(strategy='half'), 'half'),
        (dict(strategy='partial', unfreeze=0), '1 or more'),
        (dict(strategy='scratch', head='ridge'), 'ridge'),
    ):
        with pytest.raises(QuickclsError, match=told) as e: tune(few, **dict(views=views) | given)
        assert '\n' not in str(e.value)

def test_advice():
    assert [
        (advise(n, 2, near)['strategy'], advise(n, 2, near)['near']) for n, near in ((300, 0.6), (300, 0.2), (6000, 0.2), (300, None))
    ] == [('head', True), ('head', False), ('full', False), ('head', None)]
    assert 'ImageNet' not in advise(300, 2, None)['why']
