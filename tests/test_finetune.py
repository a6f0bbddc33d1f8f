"Networks that learn: better than the head alone, stopped and gone on with, kept at epoch 0, from scratch; what is said about it"
import json, re
from dataclasses import replace
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest
from quickcls.model import finetune as module
from quickcls.backbones.registry import parse_views
from quickcls.core import QuickclsError
from quickcls.data.items import scan_folder
from quickcls.data.split import split_items
from quickcls.model.auto import advise
from quickcls.model.early_stopping import rates
from quickcls.model.finetune import tune
from quickcls.evaluate.predictions import Evaluation
from quickcls.saved.tables import read_table
from quickcls.train.tuned import history_table, tuning_facts, tuning_warnings
from tests.helpers import halves, repo, some_parts

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
    assert [(r['epoch'], r['lr']) for r in again.history] == [(r['epoch'], r['lr']) for r in whole.history] # one history
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
        (dict(strategy='full', views=parse_views('luna')), "strategy='scratch'"),
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

@pytest.fixture(scope='module')
def fallen_back(tmp_path_factory, graphs_of):
    "Folder of a classifier whose fine-tuning gave no numbers any more, so that the head alone was kept"
    from quickcls.train.pipeline import train
    out = tmp_path_factory.mktemp('fallen')/'model'
    folder = some_parts(out.parent/'parts', slice(40))
    def nothing(learn, model, rows, kept=None): return np.full((len(rows), 2), np.nan, np.float32)
    with pytest.MonkeyPatch.context() as m, graphs_of(str(parse_views('efficientnet_lite0', 64)[0]), out.parent/'cache'):
        m.setattr(module, 'outputs', nothing)
        how = dict(arch='efficientnet_lite0@64', strategy='partial', unfreeze=1, epochs=1, lr=1e-3, bs=32, patience=1)
        train(folder, out=out, offline=True, quiet=True, **how)
    return out

def test_the_head_that_is_kept_keeps_its_checks(fallen_back):
    "Cross-validation and none of these, as with the strategy head; what was tried is told in numbers, card and report"
    metrics, info = (json.loads((fallen_back/f).read_text()) for f in ('metrics.json', 'classifier.json'))
    trust, tuning, notes = metrics['trust'], metrics['tuning'], info['head']['notes']
    assert trust['cross_validation']['folds'] == 5 and trust['cross_validation']['n'] == 80 and trust['open_set']['n'] > 20
    assert (tuning['kept'], tuning['strategy'], tuning['head_alone']) == ('head', 'partial', None)
    assert tuning['validation']['network']['loss'] is None and tuning['validation']['head']['loss'] > 0
    assert notes['tried'] == 'partial' and 'strategy' not in notes and info['data']['augment'] == 'none'
    card = (fallen_back/'README.md').read_text()
    assert 'frozen' in card and 'partial was tried' in card and f'{tuning["held_out"]["accuracy"]:.1%}' in card
    assert '--lr 0.001 --bs 32 --patience 1' in card # trains the same again

def test_the_history_is_kept(fallen_back, browser):
    "An epoch a row; the report draws it, and holds the verdict on fine-tuning"
    history = read_table(fallen_back/'history.csv')
    assert list(history) == ['epoch', 'train_loss', 'valid_loss', 'accuracy', 'lr', 'seconds'] and history.epoch.tolist() == [1]
    assert 1e-4 < history['lr'][0] <= 1e-3 and history.seconds[0] > 0 # the highest rate of the epoch
    (fallen_back/'history.csv').write_text('epoch,train_loss\n1,<script>\n')
    with pytest.raises(QuickclsError, match='history.csv.*train_loss'): read_table(fallen_back/'history.csv')
    history.to_csv(fallen_back/'history.csv', index=False)
    with browser.new_context(viewport=dict(width=390, height=844)) as context:
        page = context.new_page()
        page.goto((fallen_back/'report.html').as_uri())
        section = page.locator('#learned')
        section.locator('summary').click()
        verdict = json.loads((fallen_back/'metrics.json').read_text())['tuning']['verdict']
        assert section.locator('svg').count() == 1 and verdict[1:] in section.inner_text()
        assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')

def test_heads_that_learn_in_epochs_have_a_history():
    x, y = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32), np.arange(40) % 2
    table = history_table(module.fit_head('mlp:4', (x, y), (x, y), n_out=2, epochs=3).notes)
    assert table.epoch.tolist() == [1, 2, 3] and list(table)[1:] == ['train_loss', 'held_out_loss']
    assert history_table(module.fit_head('linear', (x, y), (x, y), n_out=2).notes) is None

def judged(network, head, validation, n=60):
    "`tuning_facts` of a network that names `network` held-out images right, beside a head that names `head` of them right"
    right, alone = np.arange(n) < network, np.arange(n) >= n - head
    table = pd.DataFrame(dict(
        label='a', predicted=np.where(right, 'a', 'b'), sha256=[str(i) for i in range(n)], loss=.1, twin=False, split='valid'
    ))
    tuned = SimpleNamespace(
        notes=dict(strategy='partial'), gained=True, best_epoch=2, history=[{}]*3,
        on_validation=dict(n=30, network=dict(accuracy=validation, loss=.1), head=dict(accuracy=.9, loss=.2)),
    )
    return tuning_facts(tuned, Evaluation(table, ['a', 'b']), alone)

def test_validation_that_flatters_beyond_chance_is_told_with_both_numbers():
    "100 % against 57 % went unsaid once"
    warning, *_ = tuning_warnings(judged(34, 34, 1.))
    assert '100.0%' in warning and '56.7%' in warning
    assert tuning_warnings(judged(58, 57, 1.)) == []

@pytest.mark.parametrize('network, head, better', [(58, 57, None), (60, 50, 'network'), (50, 60, 'head')])
def test_the_head_alone_is_beside_the_network(network, head, better):
    "On the same images, by McNemar's test"
    facts = judged(network, head, network/60)
    h = facts['head_alone']
    assert (h['accuracy'], h['network']) == (pytest.approx(head/60, abs=1e-6), pytest.approx(network/60, abs=1e-6))
    assert (h['p'] < .05) == (better is not None) and all(f'{n/60:.1%}' in facts['verdict'] for n in (network, head))
    assert [w for w in tuning_warnings(facts) if '--strategy' in w] == ([facts['verdict']] if better == 'head' else [])

@pytest.mark.parametrize('options, told', [
    ('--lr 0.001', '--lr.*--strategy'), ('--bs 8 --patience 2 --strategy head', '--bs.*--patience.*--strategy'),
    ('--strategy full --lr 0', 'lr.*above 0'), ('--strategy full --bs 1', '2 to 1024'), ('--strategy partial --patience 0', '1 or more'),
])
def test_a_pace_that_cannot_be_meant_is_refused(quickcls, tmp_path, options, told):
    r = quickcls('train', repo/'datasets'/'parts', *options.split(), '--out', tmp_path/'m')
    assert r.returncode == 1 and re.search(told, r.stderr) and len(r.stderr.splitlines()) == 1 and not (tmp_path/'m').exists()

def test_no_batch_of_one(few):
    "Batch norm needs two images"
    rows = few.table[:9]
    loader = module.image_loader(rows, few.vocab, parse_views('efficientnet_lite0', 32), bs=8, shuffle=True)
    assert [len(y) for _, y in loader] == [9] and len(loader) == 1

def test_patience():
    "Stops after so many epochs without a lower validation loss; a loss that is no number is never the best"
    from torch import nn
    log, learn = module.EpochLog('unused', patience=2, seed=0, say=lambda text: None), SimpleNamespace(model=nn.Linear(1, 1))
    stops = []
    for epoch, loss in enumerate((float('nan'), .5, .6, .7), 1):
        log.add(learn, epoch, loss, loss, .5, 1e-4, 1.)
        stops.append(log.should_stop)
    assert stops == [False, False, False, True] and log.best == (.5, 2) and log.history[0]['valid_loss'] is None
