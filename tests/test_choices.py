"What chooses for you: the dial, the automatic choice, and how much of the network learns"
import json, re
from dataclasses import replace
from pathlib import Path
import numpy as np, pandas as pd, pytest
from tests.helpers import files_of, repo, some_parts
from quickcls.model.auto import candidates, choose
from quickcls.backbones.registry import of_quality, parse_views, qualities
from quickcls.core import QuickclsError
from quickcls.data.items import scan_folder
from quickcls.data.split import split_items
from quickcls.train.options import Training
from quickcls.train.pipeline import train

@pytest.fixture(scope='module')
def parts(): return split_items(scan_folder(repo/'datasets'/'parts'))

@pytest.fixture(scope='module')
def few(tmp_path_factory): return split_items(scan_folder(some_parts(tmp_path_factory.mktemp('few')/'parts', slice(50))))

def answers_of(python, clf, n=12):
    "(probabilities that another process gives, those in predictions.csv) of held-out images"
    table = pd.read_csv(clf.path/'predictions.csv').query('split != "train"').head(n)
    code = (
        'import sys, json; from quickcls.model.classifier import Classifier; '
        'print(json.dumps([[t["probability"] for t in sorted(p.top, key=lambda t: t["label"])] for p in '
        'Classifier.load(sys.argv[1]).predict(sys.argv[2:])]))'
    )
    return json.loads(python(code, clf.path, *files_of(clf, table.path))), table[['p_defect', 'p_ok']]

@pytest.mark.slow
@pytest.mark.parametrize('quality', ['good', 'best'])
def test_every_mark_of_the_dial_is_a_classifier(tmp_path, python, quality):
    "good, with two views, and best, with two networks, one of which crops: as good as measured, and saved as it was live"
    clf = train(str(repo/'datasets'/'parts'), quality=quality, out=str(tmp_path/'model'), quiet=True)
    arch, head = of_quality(quality)
    assert (clf.arch, clf.head.kind) == (arch, head) == (qualities[quality]['arch'], 'ridge')
    assert clf.trust.cross_validation['accuracy'] > .95 # measured: .985 for good, .977 for best
    np.testing.assert_allclose(*answers_of(python, clf), atol=.02) # the store keeps 16 bits
    assert f'--quality {quality}' in json.loads((clf.path/'metrics.json').read_text())['command']

def test_a_head_that_is_named_stays_with_a_quality():
    "And one that is not named comes with it; what was not given is not in the command"
    assert [Training('parts', quality='best', head=h).head for h in (None, 'linear', 'ridge')] == ['ridge', 'linear', 'ridge']
    assert Training('parts', arch='sift-bow-svm').head == 'svm'
    assert Training('parts', quality='best', head='linear', arch='auto').command == 'quickcls train parts --quality best --head linear'

def test_a_training_cannot_be_changed():
    t = Training('parts', strategy='full')
    with pytest.raises(AttributeError): t.seed = 3
    assert (t.replace(seed=3).seed, t.seed, t.augment, t.replace(strategy='head').augment) == (3, 42, 'fastai', 'none')

def test_the_help_shows_ten_options_first(quickcls):
    first, advanced = quickcls('train', '--help').stdout.split('advanced options:')
    options = [re.findall(r'^  (--[\w-]+)', part, re.M) for part in (first, advanced)]
    assert len(set(options[0]) - {'--json', '--debug'}) == 10 and '--arch' in options[0]
    assert {'--folds', '--keep-known'} <= set(options[1]) and not set(options[0]) & set(options[1])

def test_views_name_their_own_size_and_way():
    "name@size/resize, joined with +; what a view prints is what names it"
    views = parse_views('efficientnet_lite0 + efficientnet_lite0@320/crop', resize='pad')
    assert [(v.size, v.resize) for v in views] == [(224, 'pad'), (320, 'crop')]
    assert parse_views(str(views[1])) == [views[1]]

@pytest.mark.parametrize(
    'given, expected',
    [
        (dict(quality='superb'), 'fast, good, best'),
        (dict(quality='best', arch='resnet18'), 'arch'),
        (dict(auto=-1), '-1'),
        (dict(auto=9, head='svm'), 'head'),
        (dict(auto=9, quality='good'), 'quality'),
        (dict(strategy='all'), 'head.*partial.*full.*scratch'),
        (dict(strategy='partial', unfreeze=0), '1 or more'),
        (dict(arch='efficientnet_lite0@320/stretch'), 'squish, crop, pad'),
        (dict(arch='sift-bow-svm', strategy='full'), 'sift-bow-svm'),
        (dict(arch='luna'), "strategy='scratch'"),
        (dict(unfreeze=3), "strategy='partial'"),
        (dict(strategy='scratch', arch='luna', weights='w.pth'), 'weights is w.pth'),
        (dict(arch='resnet18,resnet34'), re.escape('resnet18+resnet34')),
        (dict(strategy='scratch', arch='luna', head='svm'), 'svm'),
    ],
)
def test_choices_that_cannot_be(tmp_path, given, expected):
    "One line, before an image is embedded"
    with pytest.raises(QuickclsError, match=expected) as e:
        train(str(repo / 'datasets' / 'parts'), out=str(tmp_path / 'model'), quiet=True, **given)
    assert '\n' not in str(e.value) and not (tmp_path/'model').exists()

@pytest.mark.skipif(not Path('/proc/self').exists(), reason='no /proc, where even root may write nothing')
def test_a_place_that_cannot_be_written_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr('quickcls.train.pipeline.read_items', lambda *a, **k: pytest.fail('work was begun'))
    with pytest.raises(QuickclsError, match='^/proc/models/parts cannot be written'):
        train(str(repo / 'datasets' / 'parts'), out='/proc/models/parts', quiet=True)


def test_held_out_images_have_no_say(few):
    "Whatever their labels are, the same is tried and chosen"

    def tried(items):
        return [
            (t['arch'], t['head'], t['accuracy'], t['log_loss'])
            for t in choose(items, 300, known=('efficientnet_lite0',), say=lambda s: None).tried
        ]

    t = few.table.copy()
    out = t.split == 'valid'
    t.loc[out, 'label'] = t.label[out].to_numpy()[::-1]
    assert (t.label != few.table.label).sum() > 10
    found = tried(few)
    assert found == tried(replace(few, table=t)) and len(found) >= 4
    n = (few.table.split == 'train').sum()
    errors = n*(1 - max(f[2] for f in found))
    assert n*(1 - found[0][2]) <= errors + errors**.5 + 1e-9

def test_a_second_is_enough_for_the_first(parts):
    "Something is chosen however little time there is, and what was left out is named"
    choice = choose(parts, 1, known=('efficientnet_lite0', 'efficientnet_lite2'), say=lambda s: None)
    assert choice.arch == 'efficientnet_lite0' and 'efficientnet_lite2' in ' '.join(choice.passed_over) and 'no time was left' in choice.why

def test_square_images_are_not_cropped():
    "Cropping a square changes nothing, so it is not tried"
    assert not [c for c in candidates((np.array([300]), np.array([300])), ('efficientnet_lite0',)) if 'crop' in c]
    assert [c for c in candidates((np.array([400]), np.array([300])), ('efficientnet_lite0',)) if 'crop' in c]

def test_the_command_line_chooses(tmp_path, quickcls):
    "`train --auto`: says what it chose and why, keeps the table of what it tried, warns that cross-validation chose"
    p = quickcls('train', some_parts(tmp_path/'parts', slice(40)), '--auto', '20', '--out', tmp_path/'model', '--offline')
    metrics = json.loads((tmp_path/'model'/'metrics.json').read_text())
    assert p.returncode == 0 and f'best of {len(metrics["auto"])} ' in p.stdout and 'held-out images were not used' in p.stdout
    assert metrics['auto'][0]['arch'] == metrics['arch'] and len(metrics['auto']) > 1

@pytest.mark.slow
def test_a_network_that_learned_is_saved_as_it_was(tmp_path, python, quickcls):
    "Its answers, its card, its own parameters; no cross-validated figure that it does not have"
    p = quickcls(
        'train',
        repo / 'datasets' / 'parts',
        '--strategy',
        'partial',
        '--arch',
        'efficientnet_lite0@96',
        '--epochs',
        '1',
        '--out',
        tmp_path / 'model',
    )
    assert p.returncode == 0, p.stderr
    from quickcls.model.classifier import Classifier
    clf = Classifier.load(tmp_path/'model')
    np.testing.assert_allclose(*answers_of(python, clf), atol=.05) # the graph computes with 16 bits where that is faster
    assert clf.body_state and clf.head.notes['strategy'] == 'partial' and clf.trust.cross_validation is None and clf.trust.calibration
    assert 'validation images' in p.stdout and 'trained here (partial)' in (tmp_path/'model'/'README.md').read_text()
    again = quickcls('train', repo/'datasets'/'parts', '--weights', tmp_path/'model', '--out', tmp_path/'second', '--folds', '3', '--json')
    assert (
        again.returncode == 0 and json.loads(again.stdout.splitlines()[-1])['arch'] == 'efficientnet_lite0@96'
    )  # an earlier classifier as a start

def test_the_svm_head_is_repeatable():
    "To the last digit, though its folds are fitted in two threads"
    from quickcls.heads.crossval import cross_validate
    x, y = np.random.default_rng(0).normal(size=(400, 300)).astype(np.float32), np.arange(400) % 3
    x[:, 0] += y
    first, *others = (cross_validate(x, y, np.arange(400), head='svm', n_out=3).logits for _ in range(3))
    for again in others: np.testing.assert_array_equal(first, again)
