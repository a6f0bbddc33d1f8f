"A figure that can be believed: cross-validation, calibration, twins, imbalance, thresholds, the pages of one and of two classifiers"
import json, shutil
import numpy as np, pandas as pd, pytest
from quickcls.all import Classifier, QuickclsError, describe_threshold, train
from quickcls.evaluate.predictions import Evaluation
from quickcls.report.record import read_facts
from quickcls.evaluate.paired import compare_runs
from tests.helpers import image, repo, write_folder

lite0 = dict(arch='efficientnet_lite0', quiet=True)

def metrics_of(clf): return json.loads((clf.path/'metrics.json').read_text())

@pytest.fixture(scope='module')
def parts(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('m'))

def test_cross_validation_stands_beside_the_split(parts):
    cv = parts.trust.cross_validation
    assert (cv['folds'], cv['repeats'], cv['n'], cv['untested']) == (5, 2, 240, 0) and len(cv['per_repeat']) == 2
    assert cv['interval'][0] < cv['accuracy'] < cv['interval'][1] and cv['interval'][1] - cv['interval'][0] < np.ptp(
        metrics_of(parts)['interval']
    )
    t = pd.read_csv(parts.path/'cross_validation.csv')
    assert t.path.is_unique and len(t) == 240 and (t.label == t.predicted).mean() == pytest.approx(cv['per_repeat'][0], abs=.02)

def test_few_images_are_called_few(parts):
    assert any('held-out images' in w and 'points' in w for w in parts.trust.warnings) and 'points' in str(parts.trust)

def test_images_that_tell_nothing_score_like_a_coin(tmp_path):
    "Noise under two labels: nothing leaks from training into the figure"
    for i in range(80):
        f = tmp_path / 'noise' / 'ab'[i % 2] / f'{i}.png'
        f.parent.mkdir(parents=True, exist_ok=True)
        image(i, 32, 32).save(f)
    low, high = train(tmp_path/'noise', out=tmp_path/'m', **lite0).trust.cross_validation['interval']
    assert low < .5 < high

def test_copies_never_stand_on_both_sides_of_a_fold(tmp_path):
    "The same noise, each image three times: with copies in training, every one would be known"
    for i in range(40):
        for copy in range(3):
            f = tmp_path / 'noise' / 'ab'[i % 2] / f'{i}-{copy}.png'
            f.parent.mkdir(parents=True, exist_ok=True)
            image(i, 32, 32).save(f)
    cv = train(tmp_path/'noise', out=tmp_path/'m', **lite0).trust.cross_validation
    assert cv['accuracy'] < .8 and cv['interval'][1] - cv['interval'][0] > .25 # 120 files, but 40 images

def test_casting_is_given_with_and_without_its_twins(photos, tmp_path):
    clf = train(photos('casting'), out=tmp_path/'casting', **lite0)
    m = metrics_of(clf)
    apart = m['without_twins'] # without the 64 that are the same bytes, and without look-alikes of training images
    assert m['n'] == 715 and apart['n'] + apart['twins'] == 715 and 64 < apart['twins'] < 715/2 + 64
    assert m['accuracy'] >= .995 and m['without_twins']['accuracy'] >= .995 and clf.trust.cross_validation['n'] == 6633
    assert clf.trust.calibration['ece_after'] <= .03
    page = (clf.path/'report.html').read_text()
    assert 'without duplicates' in page and '64 held-out images' in page and len(page) < 5e6

def test_flowers_are_calibrated(photos, tmp_path):
    "The mean of five splits: one alone is measured on 400 images, of which chance makes up to .05"
    def error(seed): return train(photos('flowers'), out=tmp_path/f'flowers-{seed}', seed=seed, **lite0).trust.calibration['ece_after']
    assert np.mean([error(seed) for seed in (42, 1, 2, 3, 4)]) <= .03

def test_saved_probabilities_are_the_calibrated_ones(parts):
    "The head's own logits, divided by the temperature, are what `predict` and the Learner say"
    t = parts.trust.calibration['temperature']
    assert t == parts.temperature
    path = repo/'docs'/'parts'/'defect.jpg'
    x = parts.embed([np.stack([v]) for v in parts.prepare(path)])
    z = parts.head.logits(x)[0]/t
    p = {a['label']: a['probability'] for a in parts.predict(path).top}
    assert [p[c] for c in parts.vocab] == pytest.approx(np.exp(z)/np.exp(z).sum(), abs=1e-5)
    import torch
    from quickcls.heads.head import to_torch

    assert to_torch(parts.head.scaled(t))(torch.from_numpy(x)).softmax(1)[0].tolist() == pytest.approx(
        [p[c] for c in parts.vocab], abs=1e-5
    )


def test_without_folds_nothing_is_promised(tmp_path):
    clf = train(repo/'datasets'/'parts', out=tmp_path/'m', folds='0', **lite0)
    assert clf.trust.cross_validation is None and clf.temperature == 1 and not (clf.path/'cross_validation.csv').exists()
    page = (clf.path/'report.html').read_text()
    assert '--folds 0' in page and 'id="sure"' not in page
    with pytest.raises(QuickclsError, match='learning curve'): clf.trust.plot_learning_curve()
    with pytest.raises(QuickclsError, match="'many'.*5x2"): train(repo/'datasets'/'parts', out=tmp_path/'n', folds='many', **lite0)

def test_rare_classes_are_offered_weights_by_name(tmp_path):
    for c, n in (('common', 40), ('rare', 9)):
        for i, p in enumerate(sorted((repo/'datasets'/'parts'/('ok' if c == 'common' else 'defect')).glob('*.jpg'))[:n]):
            (tmp_path / 'set' / c).mkdir(parents=True, exist_ok=True)
            shutil.copy(p, tmp_path / 'set' / c / p.name)
    clf = train(tmp_path/'set', out=tmp_path/'m', **lite0)
    w = clf.trust.class_weights
    assert w['largest'] == ['common', 40] and w['smallest'] == ['rare', 9] and not w['used'] and w['plain'] != w['weighted']
    assert 'class_weights=True' in str(clf.trust)
    used = train(tmp_path/'set', out=tmp_path/'n', class_weights=True, **lite0).trust.class_weights
    assert used['used'] and used['weighted']['balanced_accuracy'] == pytest.approx(w['weighted']['balanced_accuracy'], abs=.1)

def test_classes_of_one_image_are_counted_not_tested(tmp_path):
    root = write_folder(tmp_path/'set', a=12, b=12, alone=1)
    clf = train(root, out=tmp_path/'m', **lite0)
    assert clf.trust.cross_validation['untested'] == 1 and any(w.startswith('1 image') for w in clf.trust.warnings)
    assert clf.evaluate().confusion_matrix(normalize=True).loc['alone'].tolist() == [0, 0, 0]
    json.dumps(metrics_of(clf), allow_nan=False)

@pytest.mark.parametrize('head', ['fastai', 'mlp:20'])
def test_other_heads_are_checked_with_themselves(head, tmp_path):
    "Three folds, once; the learning curve with the linear head, which says so"
    clf = train(repo/'datasets'/'parts', out=tmp_path/'m', head=head, epochs=3, **lite0)
    assert (
        clf.trust.cross_validation['folds'] == 3
        and clf.trust.learning_curve['head'] == 'linear'
        and clf.trust.calibration['ece_after'] < 0.2
    )


def test_random_views_stay_with_their_image(tmp_path):
    clf = train(write_folder(tmp_path/'set', a=10, b=10), out=tmp_path/'m', augment=2, **lite0)
    assert clf.trust.cross_validation['n'] == 20 # the images; their views are not tested

def test_a_line_for_a_miss_in_two_hundred(parts):
    ev = Evaluation(pd.read_csv(parts.path/'cross_validation.csv'), parts.vocab)
    t = ev.thresholds(1/200).set_index('class')
    assert t.misses.tolist() == [0, 0] and (0 < ev.thresholds(.1).misses).all() and (ev.thresholds(.1).misses <= 12).all()
    assert ev.area('defect')['roc'] == pytest.approx(ev.area('ok')['roc'], abs=1e-4) and ev.area('ok')['roc'] > .9
    assert '598 without a miss' in describe_threshold(t.reset_index().iloc[0].to_dict())

def test_every_view_is_a_table_a_figure_and_text(parts):
    ev = parts.evaluate()
    for view in (
        'confusion_matrix',
        'most_confused',
        'per_class',
        'top_k',
        'reliability',
        'roc',
        'precision_recall',
        'top_losses',
        'thresholds',
    ):
        assert isinstance(getattr(ev, view)(), pd.DataFrame) and ev.text(view).count('\n') >= 1
        if view != 'thresholds': assert getattr(ev, f'plot_{view}')().get_figwidth() > 2 # thresholds are marked in both curves
    with pytest.raises(QuickclsError, match='mood.*confusion_matrix'): ev.text('mood')

@pytest.fixture(scope='module')
def two(tmp_path_factory, parts):
    "Two classifiers that know the same side, and one of another seed"
    d = tmp_path_factory.mktemp('two')
    return (
        parts.path,
        train(repo / 'datasets' / 'parts', out=d / 'last', levels='last', **lite0).path,
        train(repo / 'datasets' / 'parts', out=d / 'other', seed=1, **lite0).path,
    )


def test_two_classifiers_are_compared_on_what_neither_learned(two):
    v = compare_runs(*map(read_facts, two[:2]))
    assert len(v.table) == metrics_of(Classifier.load(two[0]))['n'] and v.trained == 0
    c, n = v.counts(), len(v.table)
    assert (c['both'] + c['only_a'])/n == pytest.approx(metrics_of(Classifier.load(two[0]))['accuracy'], abs=1e-6)
    assert v.test()['low'] <= v.test()['difference'] <= v.test()['high'] and ('McNemar p' in v.verdict() or 'same images' in v.verdict())
    mixed = compare_runs(read_facts(two[0]), read_facts(two[2]))
    assert 0 < len(mixed.table) < n and mixed.trained > 0 # another seed holds out other images

def test_report_on_the_command_line(quickcls, two, tmp_path):
    a, b, other = two
    p = quickcls('report', a, '--out', tmp_path/'page.html', '--max-miss', '1/50', '--no-images')
    assert (
        p.returncode == 0
        and 'defect' in p.stdout
        and '1 in 50' in (tmp_path / 'page.html').read_text()
        and 'image/jpeg' not in (tmp_path / 'page.html').read_text()
    )
    p = quickcls('report', a, b, cwd=tmp_path)
    page = tmp_path/p.stdout.splitlines()[-1]
    assert p.returncode == 0 and 'difference' in p.stdout and 'McNemar' in page.read_text() and 'http://' not in page.read_text()
    p = quickcls('report', a, '--data', repo/'datasets'/'parts')
    assert p.returncode == 0 and (a/'report-parts.html').is_file() and '72 held-out images' in p.stdout # those trained on are left out
    assert '168 more' in (a/'report-parts.html').read_text() # 168 alone stands there for the training images too
    assert '50 false alarms' in quickcls('report', a, '--cost', '50').stdout + (a/'report.html').read_text()
    for words, text in (
        (('report', a, '--max-miss', '700'), "'700'"),
        (('report', tmp_path), 'classifier.json'),
        (('report', a, '--out', tmp_path / 'no' / 'such' / 'page.html'), str(tmp_path/'no')),
    ):
        p = quickcls(*words)
        assert p.returncode == 1 and text in p.stderr and len(p.stderr.strip().splitlines()) == 1, p.stderr

def test_a_head_that_is_too_sure_is_calmed():
    "Logits blown up three times: the temperature takes it back, measured on folds it was not fitted to"
    from quickcls.heads.calibration import calibrate
    from quickcls.heads.crossval import CrossValidation
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (2000, 3))
    y = np.array([rng.choice(3, p=p) for p in np.exp(true)/np.exp(true).sum(1, keepdims=True)])
    c = calibrate(CrossValidation(y, 3*true[None], rng.integers(0, 5, (1, 2000)), 1600, 2000)).summary()
    assert 2.5 < c['temperature'] < 3.5 and c['ece_before'] > .1 and c['ece_after'] <= c['ece_chance']

def test_one_wrong_label_does_not_set_the_temperature():
    from quickcls.heads.calibration import fit_temperature
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (400, 2))
    y = np.array([rng.choice(2, p=p) for p in np.exp(true)/np.exp(true).sum(1, keepdims=True)])
    spoiled = np.concatenate([true, [[60., 0.]]])
    assert abs(fit_temperature(spoiled, np.append(y, 1)) - fit_temperature(true, y)) < .15

def test_copies_under_another_label_cost_no_fold():
    "A class that only exists as a copy of another class's image: its group trains, the other images of the fold are tested"
    from quickcls.heads.linear import stratified_folds
    y, groups = np.array([0]*10 + [1]*10 + [2]), np.array([f'g{i}' for i in range(20)] + ['g3'])
    for k in (2, 5):
        folds = stratified_folds(y, groups, k)
        assert len(folds) == k and sorted(i for _, t in folds for i in t) == [i for i in range(20) if i != 3]

def test_sides_of_a_folder_keep_copies_together_in_folds(tmp_path):
    from quickcls.data.items import scan_folder
    from quickcls.data.split import split_items
    for side, start in (('train', 0), ('valid', 20)): write_folder(tmp_path/'set'/side, start, a=4, b=4)
    shutil.copy(tmp_path/'set'/'train'/'a'/'000.png', tmp_path/'set'/'valid'/'a'/'burst9-x.png')
    t = split_items(scan_folder(tmp_path/'set', group_pattern=r'(burst\d+)')).table
    assert t.groupby('sha256')['group'].nunique().max() == 1

def test_a_folder_of_one_class_can_be_asked_about(parts, tmp_path):
    shutil.copytree(repo/'datasets'/'parts'/'defect', tmp_path/'box'/'defect')
    ev = parts.evaluate(tmp_path/'box')
    assert ev.n == 120 and ev.metrics()['accuracy'] > .9
