"What the accuracy does when the images change: the table, the sentence that names a shortcut, the section of the report, bad input"
import json, shutil
import numpy as np, pandas as pd, pytest
from PIL import Image
from quickcls.all import Classifier, QuickclsError, scan_folder
from quickcls.stress import measure
from quickcls.stress.changes import Setting, changed, changes, every
from quickcls.stress.measure import drawn as some_rows, images_under_test, prepared, stress_rows
from quickcls.stress.words import cause, stress_sentence, worst
from quickcls.texts import Texts, catalogue, fields_of, use_lang
from tests.helpers import image, repo

parts = repo/'datasets'/'parts'

@pytest.fixture(scope='module')
def clf(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('m'))

@pytest.fixture(scope='module')
def stressed(clf, quickcls):
    "The command on four held-out images"
    return quickcls('stress', clf.path, '--most', '4')

def lite0_on(folder):
    "A linear head on two thirds of a folder, and the others prepared: the shortcut is in all of them"
    from quickcls.backbones.onnx_graph import get_graph
    from quickcls.backbones.registry import parse_views
    from quickcls.features.embed import Embeddings
    from quickcls.heads.linear import fit_linear
    items, graph = scan_folder(folder), get_graph(parse_views('efficientnet_lite0')[0])
    (embeddings := Embeddings([graph])).embed(items)
    train = np.arange(len(items)) % 3 > 0
    y = items.table.label.map(items.vocab.index).to_numpy()
    head = fit_linear(embeddings.read(items.table[train]), y[train], c=.01)
    clf = Classifier(items.vocab, [graph.view], 'all', head, graphs=[graph], info=dict(digests=[graph.digest]))
    return clf, prepared(clf, some_rows(items.table[~train], 12))

def draw(root, **of):
    "Eighteen images of each class: the same patterns in all classes, and then what makes the class"
    for label, make in of.items():
        (root/label).mkdir(parents=True)
        for i in range(18): Image.fromarray(make(np.array(image((i, 7), 64, 64)))).save(root/label/f'{i}.png')
    return root

def grey(a): return np.repeat(a.mean(2, keepdims=True), 3, 2)
few = [('darker', 3), ('equalised', 1), ('grey', 3), ('turned', 1)]

def test_brightness_is_named(tmp_path):
    "The same patterns, dark in one class and bright in the other: equal brightness brings it to chance, and the sentence says why"
    folder = draw(tmp_path, dark=lambda a: (20 + grey(a)*.4).astype(np.uint8), light=lambda a: (120 + grey(a)*.4).astype(np.uint8))
    found = stress_rows(*lite0_on(folder), which=few)
    at = {(r['change'], r['strength']): r['accuracy'] for r in found['rows']}
    assert found['clean']['accuracy'] >= .9 and at['equalised', 1] <= .6 and at['turned', 1] >= .8
    assert cause(found)['change'] == 'equalised' and 'it goes by brightness' in stress_sentence(found)

def test_colour_is_named(tmp_path):
    "Reddish against bluish: grey brings it to chance, and equal brightness does not"
    def tint(by): return lambda a: np.clip(grey(a)*.5 + 60 + np.array(by), 0, 255).astype(np.uint8)
    found = stress_rows(*lite0_on(draw(tmp_path, red=tint([60, 0, 0]), blue=tint([0, 0, 60]))), which=[('grey', 3), ('equalised', 2)])
    at = {r['change']: r['accuracy'] for r in found['rows']}
    assert at['equalised'] >= .9 and worst(found)['change'] == 'grey' and cause(found)['change'] == 'grey'
    assert 'it goes by colour' in stress_sentence(found)

def test_changes_are_repeatable():
    "The same image and setting, the same pixels; a stronger change is further from the image"
    a, other = np.array(image(1, 96, 96)), np.array(image(2, 96, 96))
    for seed in (4, 5): # the two directions
        setting = Setting(seed, (118, 55), (.5, .5), other)
        for name, strength in every:
            one, two = (changed(a, name, strength, setting) for _ in range(2))
            assert one.dtype == np.uint8 and one.shape == a.shape and (one == two).all() and (one != a).any()
    def far(name, s): return np.abs(changed(a, name, s, Setting(4, other=other)).astype(int) - a).mean()
    assert all(far(n, 1) < far(n, 3) for n in changes if n not in ('equalised', 'background'))
    with pytest.raises(QuickclsError, match='Expected one of darker'): changed(a, 'rotten', 1)

def test_another_precision_has_its_own_embeddings(clf):
    "The store's key names what the network computes in on this processor, not what was asked for; the table names it too"
    asked = Classifier.load(clf.path, precision='bf16')
    assert f'|{asked.engine.precision}|' in measure._recipe(asked)
    found = stress_rows(asked, prepared(asked, images_under_test(asked, most=2)), which=[('darker', 1)])
    assert found['precision'] == asked.engine.precision

def test_the_command_writes_table_and_report(stressed, clf):
    "37 rows with each class, and a section with a figure; metrics.json holds what it held"
    assert stressed.returncode == 0, stressed.stderr
    table = pd.read_csv(clf.path/'stress.csv')
    assert len(table) == 37 and set(table.change) == {'unchanged', *changes} and (table.n == 4).all()
    assert {'recall_defect', 'recall_ok', 'refused', 'calibration_error'} <= set(table.columns)
    kept = json.loads((clf.path/'metrics.json').read_text())
    assert kept['stress']['n'] == 4 and kept['trust']['cross_validation']
    page = (clf.path/'report.html').read_text()
    assert 'id="stress"' in page and 'Accuracy under each change' in page and 'another background' in stressed.stdout

def test_a_folder_and_one_object(clf, quickcls, tmp_path):
    "A labelled folder in place of the held-out images; the unchanged row is what `evaluate` says"
    for label in clf.vocab:
        (tmp_path/'other'/label).mkdir(parents=True)
        for p in sorted((parts/label).glob('*.jpg'))[:2]: shutil.copy(p, tmp_path/'other'/label)
    before = (clf.path/'report.html').stat().st_mtime_ns
    r = quickcls('stress', clf.path, tmp_path/'other', '--json', '--no-report')
    found = json.loads(r.stdout)
    assert r.returncode == 0 and found['on'] == 'other' and found['n'] == 4 and len(found['rows']) == 36
    assert found['clean']['accuracy'] == clf.evaluate(tmp_path/'other').accuracy
    assert (clf.path/'report.html').stat().st_mtime_ns == before

def test_bad_input_is_told_in_one_line(drawn, quickcls, tmp_path):
    "No held-out images, images without labels, other classes, several labels, no images asked for"
    path = drawn(tmp_path).path
    def told(*words):
        r = quickcls('stress', *words)
        assert r.returncode == 1 and len(r.stderr.strip().splitlines()) == 1, (words, r.stderr)
        return r.stderr
    (tmp_path/'loose').mkdir()
    image(1).save(tmp_path/'loose'/'a.png')
    assert 'loose' in told(path, tmp_path/'loose')
    for label in ('cat', 'dog'):
        (tmp_path/'pets'/label).mkdir(parents=True)
        image(label.encode()[0]).save(tmp_path/'pets'/label/'a.png')
    assert 'does not know: cat, dog' in told(path, tmp_path/'pets')
    assert '--most is 0' in told(path, '--most', '0')
    d = json.loads((path/'classifier.json').read_text())
    labels = dict(thresholds=[.5, .5], chosen=[True, True], separator=' ')
    several = d | dict(format=2, temperature=1., open_set=None, labels=labels, head=d['head'] | dict(kind='labels'))
    (path/'classifier.json').write_text(json.dumps(several))
    assert 'several labels' in told(path)
    (path/'classifier.json').write_text(json.dumps(d))
    table = pd.read_csv(path/'predictions.csv')
    table[table.split == 'train'].to_csv(path/'predictions.csv', index=False)
    assert 'no held-out images' in told(path)
    table.assign(path='gone/' + table.path).to_csv(path/'predictions.csv', index=False)
    assert 'where it was in training' in told(path)

def test_what_was_kept_is_checked(drawn, quickcls, tmp_path):
    "A file from elsewhere: damaged rows are refused in one line; a change that is not known here is left out"
    path = drawn(tmp_path).path
    row = dict(n=4, accuracy=.9, low=.8, high=1., refused=0., calibration_error=.1, recall=[1., .8])
    kept = json.loads((path/'metrics.json').read_text())
    def report(**stress):
        (path/'metrics.json').write_text(json.dumps(kept | dict(stress=dict(n=4, chance=.5, clean=row) | stress)))
        return quickcls('report', path)
    assert report(rows=[row | dict(change='melted', strength=1)]).returncode == 0
    assert 'id="stress"' not in (path/'report.html').read_text()
    r = report(rows=[row | dict(change='grey', strength=3, accuracy=7)])
    assert r.returncode == 1 and 'metrics.json is damaged' in r.stderr and len(r.stderr.strip().splitlines()) == 1

def test_german():
    "The catalogues have the same texts with the same fields, and the sentence is read in either language"
    en, de = ({k: v for k, v in catalogue(lang).items() if k.startswith('stress.')} for lang in ('en', 'de'))
    assert set(en) == set(de) and all(fields_of(en[k]) == fields_of(de[k]) for k in en)
    assert {f'stress.{n}' for n in changes} <= set(en) and Texts('de').lang == 'de'
    found = dict(chance=.5, clean=dict(accuracy=.93), rows=[dict(change='grey', strength=3, accuracy=.51)])
    try:
        use_lang('de')
        assert stress_sentence(found).startswith('In Grau fällt') and 'nach der Farbe' in stress_sentence(found)
    finally: use_lang('en')
    assert stress_sentence(found).startswith('Turned to grey it falls from 93 % to 51 %')

# how good on images without labels

def changed_folder(root, name, strength, some):
    "Images of the drawn parts under one change, without labels"
    root.mkdir()
    for p in some:
        square = np.array(Image.open(p).convert('RGB').resize((224, 224)))
        Image.fromarray(changed(square, name, strength)).save(root/f'{p.parent.name}-{p.stem}.png')
    return root

@pytest.fixture(scope='module')
def estimating(drawn, tmp_path_factory):
    "A classifier with a model of correctness that was fitted on a few of its images"
    import quickcls.stress.estimate as e
    clf = drawn(tmp_path_factory.mktemp('e'))
    with pytest.MonkeyPatch.context() as m:
        m.setattr(e, 'most_plain', 60)
        m.setattr(e, 'most_changed', 20)
        e.keep_correctness(clf, e.fit_for(clf))
    return Classifier.load(clf.path)

def test_the_estimate_falls_with_the_images(estimating, tmp_path, quickcls):
    "Images as they are, and the same with strong noise; told by the command, and at the end of `predict`"
    some = sorted((parts/'ok').glob('*.jpg'))[:12] + sorted((parts/'defect').glob('*.jpg'))[:12]
    noisy = changed_folder(tmp_path/'noisy', 'noisy', 3, some)
    plain, worse = estimating.estimate(some), estimating.estimate(sorted(noisy.glob('*.png')))
    assert plain.low <= plain.accuracy <= plain.high and plain.changed and worse.accuracy < plain.accuracy - .02
    found = json.loads(quickcls('estimate', estimating.path, noisy, '--json').stdout)
    assert found == worse.to_dict() and found['n'] == 24
    assert f'Estimated accuracy on 24 images: {100*found["accuracy"]:.0f} %' in quickcls('predict', estimating.path, noisy).stdout

def test_the_page_tells_it_below_its_table(estimating, tmp_path, monkeypatch):
    "The same sentence as `estimate`, for enough uploads; a doubt where they are of something else; nothing where they are few"
    from quickcls.app.predict_page import _table_of
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path))
    def shown(images):
        uploads = [dict(path=str(tmp_path/f'{i}.png'), orig_name=f'{i}.png') for i, _ in enumerate(images)]
        for u, im in zip(uploads, images): im.save(u['path'])
        return _table_of(estimating, uploads)
    some = [Image.open(p) for label in ('ok', 'defect') for p in sorted((parts/label).glob('*.jpg'))[:12]]
    assert f'</div><p class="qc-estimate"><b>{estimating.estimate([np.array(i) for i in some]).short}</b></p>' in shown(some)
    noise = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (60, 80, 3), dtype=np.uint8)) for i in range(20)]
    assert 'may be far off' in shown(noise)
    assert 'Estimated accuracy' not in shown(some[:19])

def test_it_says_what_it_cannot_judge(estimating):
    "Images of something else are less like the training images than all changed ones"
    noise = [np.random.default_rng(i).integers(0, 256, (60, 80, 3), dtype=np.uint8) for i in range(20)]
    found = estimating.estimate(noise)
    assert found.outside and 'may be far off' in str(found)

def test_an_estimate_needs_its_images_once(drawn, estimating, quickcls, tmp_path):
    "Without the training images it is refused in one line, unless the classifier keeps a model; a damaged model is refused"
    path = drawn(tmp_path).path
    photo = sorted((parts/'ok').glob('*.jpg'))[0]
    table = pd.read_csv(path/'predictions.csv')
    table.assign(path='gone/' + table.path).to_csv(path/'predictions.csv', index=False)
    r = quickcls('estimate', path, photo)
    assert r.returncode == 1 and 'on the machine of the training' in r.stderr and len(r.stderr.strip().splitlines()) == 1
    kept = json.loads((estimating.path/'classifier.json').read_text())['correctness']
    def with_model(**changes):
        d = json.loads((path/'classifier.json').read_text())
        (path/'classifier.json').write_text(json.dumps(d | dict(correctness=kept | changes)))
        return quickcls('estimate', path, photo)
    assert with_model().returncode == 0
    for bad in (dict(weights=[1.]), dict(scale=[0.]*4), dict(spread='x')):
        r = with_model(**bad)
        assert r.returncode == 1 and 'classifier.json is damaged' in r.stderr, bad

def test_no_forecast_for_images_of_another_kind():
    "Held-out images that are clearly worse than cross-validation: twice the images of the training are not said to give more than that"
    from quickcls.evaluate.diagnostics import Trust
    cv = dict(accuracy=.99, interval=[.98, .995], folds=5, repeats=2, n=800, untested=0)
    curve = dict(advice='Twice the images would give 99.5%.', forecast=dict(n=1600, accuracy=.995, low=.99, high=1.))
    def met(accuracy, low, high):
        trust = Trust(cross_validation=cv, learning_curve=curve)
        trust.meet(dict(accuracy=accuracy, interval=(low, high), n=300))
        return trust.learning_curve
    assert met(.985, .97, .995) == curve
    far = met(.57, .51, .63)
    assert far['forecast'] is None and '57.0%' in far['advice'] and '99.5%' not in far['advice']

def test_the_report_tells_both_accuracies(tmp_path):
    "As cross-validated, and under change: the mean of the medium changes, from the worst to the best"
    from quickcls.report.record import numbers, read_facts
    from tests.helpers import classifier_folder
    row = dict(n=20, low=.1, high=1., refused=0., calibration_error=.1, recall=[1., .8])
    rows = [row | dict(change=c, strength=s, accuracy=a) for c, s, a in (('grey', 2, .5), ('turned', 2, .9), ('noisy', 3, .2))]
    classifier_folder(tmp_path/'m', ['a', 'b'], 20, stress=dict(n=20, chance=.5, clean=row | dict(accuracy=.95), rows=rows))
    found = next(r for r in numbers(read_facts(tmp_path/'m')) if r['name'] == 'Accuracy under change')
    assert (found['value'], found['low'], found['high']) == (pytest.approx(.7), .5, .9)
