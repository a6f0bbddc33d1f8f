"An unusual image keeps a sure class, everywhere by the same rule; the share of unusual images is what was promised"
import csv, json, shutil
from dataclasses import replace
import numpy as np, pytest
from quickcls.all import Classifier, QuickclsError
from quickcls.cli import main
from quickcls.predict.summary import in_one_line
from quickcls.explain.boxes import agreeing
from quickcls.heads.crossval import cross_validate
from quickcls.heads.linear import fit_linear
from quickcls.heads.ood import fit_open_set, known_components, with_trust
from quickcls.report.answer_html import answer_html, answers_table, ask
from tests.helpers import repo

saved, photo = repo/'tests'/'fixtures'/'saved_classifiers'/'net', repo/'docs'/'parts'/'defect.jpg'

def strict(**rule):
    "A saved classifier to which every image is unusual"
    clf = Classifier.load(saved)
    clf.open_set = replace(clf.open_set, keep=.0001, **rule)
    return clf

def written(folder, **rule):
    "The same, as a folder"
    folder = shutil.copytree(saved, folder)
    d = json.loads((folder/'classifier.json').read_text())
    d['open_set'] |= dict(keep=.0001, **rule)
    (folder/'classifier.json').write_text(json.dumps(d))
    return folder

def test_a_sure_class_is_kept_and_called_unusual():
    p = strict(sure=.4, floor=0.).predict(photo)
    assert (p.unknown, p.unusual, p.verdict) == (False, True, 'unusual')
    lines = str(p).splitlines()
    assert p.label in lines[0] and lines[-1].startswith('unusual: more unusual than') and 'none of these' not in str(p)
    assert in_one_line(p).endswith('; unusual') and p._repr_html_().index(p.label) < p._repr_html_().index('unusual')

@pytest.mark.parametrize('rule', [dict(sure=None), dict(sure=1.1, floor=0.), dict(sure=.5, floor=1.)])
def test_a_class_in_doubt_or_an_image_too_unusual_is_none_of_these(rule):
    p = strict(**rule).predict(photo)
    assert (p.unknown, p.unusual, p.verdict) == (True, True, 'none of these') and p.top
    assert str(p).startswith('none of these') and 'unusual:' not in str(p) and not in_one_line(p).endswith('unusual')

def test_a_usual_image_is_neither():
    clf = Classifier.load(saved)
    clf.open_set = replace(clf.open_set, keep=.999999)
    p = clf.predict(photo)
    assert (p.unknown, p.unusual, p.verdict) == (False, False, '') and 'unusual' not in str(p)

def test_every_way_to_ask_gives_the_same_verdict():
    "predict, the page, its table, explain and tag"
    for rule, verdict in ((dict(sure=.4, floor=0.), 'unusual'), (dict(sure=None), 'none of these')):
        clf = strict(**rule)
        asked = ask(clf, photo, 'photo.jpg')
        page, table = answer_html(asked), answers_table([asked])
        heat, tags = clf.explain(photo), clf.tag(photo, sure=.4)
        assert asked.prediction.verdict == heat.said == verdict
        assert {k: heat.to_dict()[k] for k in ('unknown', 'unusual')} == dict(unknown=verdict != 'unusual', unusual=True)
        label = asked.prediction.label
        large = [f for f in tags.found if (f['box'][2] - f['box'][0])*(f['box'][3] - f['box'][1]) >= .75*tags.width*tags.height]
        if verdict == 'unusual':
            assert 'None of these' not in page and page.index(label) < page.index('Unusual') and 'unusual' in table
            assert 'none of these' not in table and tags.found and all(f['label'] == label for f in large)
        else: assert 'None of these' in page and 'Unusual' not in page and 'none of these' in table and not large

def test_the_commands_say_it_and_programs_can_read_it(tmp_path, capsys):
    kept, refused = written(tmp_path/'kept', sure=.4, floor=0.), written(tmp_path/'refused')
    for folder, unknown, first in ((kept, False, ''), (refused, True, 'none of these')):
        assert main(['predict', str(folder), str(photo), '--json']) == 0
        d = json.loads(capsys.readouterr().out)
        assert (d['unknown'], d['unusual']) == (unknown, True)
        assert main(['predict', str(folder), str(photo)]) == 0
        out = capsys.readouterr().out
        assert out.startswith(first) and ('\nunusual: ' in out) != unknown
        assert main(['predict', str(folder), str(photo), '--csv', str(tmp_path/'a.csv')]) == 0
        with open(tmp_path/'a.csv', newline='') as f: row, = csv.DictReader(f)
        assert (row['unknown'], row['unusual']) == (str(unknown), 'True')
        capsys.readouterr()
        assert main(['explain', str(folder), str(photo), '--out', str(tmp_path/'heat.png')]) == 0
        assert ('; none of these' if unknown else '; unusual') in capsys.readouterr().out.splitlines()[0]

def test_a_classifier_of_version_0_1_refuses_as_it_did():
    clf = Classifier.load(saved)
    assert clf.open_set.sure is None and 'column_mean' not in clf.open_set.arrays
    p = clf.predict(photo)
    assert p.unknown == p.unusual == (p.known_score < .05)

@pytest.mark.parametrize('rule', [dict(sure='much', floor=0.), dict(sure=-1, floor=0.), dict(sure=.9, floor=[1]), dict(sure=.9, floor=2)])
def test_damaged_rules_are_refused(tmp_path, rule):
    with pytest.raises(QuickclsError): Classifier.load(written(tmp_path/'m', **rule))

def test_boxes_agree_with_the_whole_image():
    p = strict(sure=.4, floor=0.).predict(photo)
    other, small = dict(label='other', probability=.99, box=[0, 0, 90, 95]), dict(label='other', probability=.9, box=[0, 0, 30, 30])
    assert [f['label'] for f in agreeing([other, small], p, 100, 100, .5)] in ([p.label, 'other'], ['other', p.label])
    assert agreeing([], p, 100, 100, .5) == [p.top[0] | dict(box=[0, 0, 100, 100])] and agreeing([], p, 100, 100, 1.1) == []
    none = replace(p, unknown=True)
    assert agreeing([other, small], none, 100, 100, .5) == [small] and agreeing([], none, 100, 100, .5) == []

rng = np.random.default_rng(3)
centres, late = np.abs(rng.normal(0, 1, (3, 400))), [[0, 300]]

def objects(n, photos=1, spread=.5):
    "Embeddings of `n` objects of each class, some photographs of each"
    y = np.repeat([0, 1, 2], n)
    seen = np.repeat(centres[y] + rng.normal(0, spread, (3*n, 400)), photos, 0)
    return (seen + rng.normal(0, .02, seen.shape)).astype(np.float32), np.repeat(y, photos)

def fitted(x, y):
    cv, head = cross_validate(x, y, np.arange(len(y)), n_out=3, c=.03, repeats=1), fit_linear(x, y, c=.03)
    known = known_components(x, cv, 1., late)
    return with_trust(fit_open_set(x, y, ['a.jpg']*len(y), known[0], late), known), head

def shares(o, head, x):
    "(unusual, none of these) of embeddings"
    logits = head.logits(x)
    e = np.exp(logits - logits.max(1, keepdims=True))
    found = o.verdicts(o.score(x, logits), (e/e.sum(1, keepdims=True)).max(1))
    return np.mean([v['unusual'] for v in found]), np.mean([v['unknown'] for v in found])

@pytest.mark.parametrize('photos', [1, 3])
def test_as_many_new_images_are_unusual_as_was_promised(photos):
    "Also where the training images show each object several times: a new object has no look-alike among them"
    found = []
    for _ in range(8):
        o, head = fitted(*objects(60, photos))
        found.append(shares(o, head, objects(300)[0])[0])
    assert .025 <= np.mean(found) <= .075, found

def test_unusual_images_of_a_sure_class_are_kept_and_foreign_ones_are_not():
    o, head = fitted(*objects(100))
    unusual, out = shares(o, head, objects(300)[0])
    assert o.sure >= .96 and 0 < o.floor < o.threshold and out <= .01 < unusual
    assert shares(o, head, np.abs(rng.normal(0, 2, (200, 400))).astype(np.float32))[1] >= .99

def test_where_labels_are_drawn_by_lot_no_unusual_image_keeps_its_class():
    x, y = objects(60)
    o, _ = fitted(x, rng.permutation(y))
    assert o.sure is None
