"A decision saved with a classifier: what it says, and what is refused"
import json
import numpy as np, pytest
from quickcls.core import QuickclsError
from quickcls.decide.aim import at_most, expected, limiting, sure_line, thresholds_for, two_lines
from quickcls.decide.decision import Decision, checked, decision_of
from tests.helpers import repo

two = ['defect', 'ok']
part = repo/'docs'/'parts'/'defect.jpg'

def scored(n=150, far=4, seed=0):
    "Class numbers and probabilities of `n` defective and `n` good parts that are far apart"
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], n)
    p = 1/(1 + np.exp(-np.where(y == 0, far, -far) - rng.normal(0, 1, 2*n)))
    return y, np.stack([p, 1 - p], 1)

def miss_aim(share=1/200, positive='defect'): return dict(kind='max_miss', positive=positive, max_miss=share, max_alarms=share)

def edit(clf, decision):
    "Write a decision into a classifier's description as a stranger could"
    file = clf.path/'classifier.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(decision=decision)))

# What thresholds do

def test_below_the_low_line_ok_above_the_high_one_defect_between_them_a_person():
    d = Decision(dict(defect=.2, ok=.95), dict(kind='thresholds'))
    said = [d.of(dict(defect=p, ok=1 - p)) for p in (0, .05, .051, .199, .2, 1)]
    assert said == ['ok', 'ok', 'look_at_it', 'look_at_it', 'defect', 'defect']
    assert d.of(dict(defect=1, ok=0), unknown=True) == 'none_of_these'

def test_a_class_without_a_threshold_is_never_acted_on_and_a_class_taught_later_is_looked_at():
    d = Decision(dict(defect=.2, ok=None), dict(kind='thresholds'))
    assert [d.of(dict(defect=p, ok=1 - p)) for p in (0, .3)] == ['look_at_it', 'defect']
    assert d.of(dict(defect=.3, ok=.1, scratch=.6)) == 'look_at_it'

@pytest.mark.parametrize('share', [0, 1/200, .02, .1])
@pytest.mark.parametrize('far', [0, 1, 4])
def test_no_more_is_missed_than_was_asked(share, far):
    y, probs = scored(far=far)
    lines = thresholds_for(miss_aim(share), y, probs, two)
    measured = expected(y, probs, two, lines)
    assert all(m['wrong'] <= share*m['n'] for m in measured.values())

def test_where_no_image_lay_a_person_looks():
    "Classes far apart: the middle of the gap between them is not decided"
    low, high = two_lines(np.array([True, True, False, False]), np.array([.99, .98, .02, .01]), 0, 0)
    assert .02 < low < .5 < high < .98

def test_the_worst_case_is_the_one_of_statistics():
    from scipy.stats import binomtest
    for k, n in ((0, 150), (3, 150), (150, 150)):
        assert at_most(k, n) == pytest.approx(binomtest(k, n, alternative='less').proportion_ci(.95, 'exact').high, abs=1e-9)

def test_sure_leaves_as_little_as_possible_to_a_person():
    right, confidence = np.array([True]*8 + [False, True]), np.array([.99, .98, .97, .96, .95, .94, .93, .92, .5, .4])
    assert .5 < sure_line(right, confidence, 1) < .92
    assert sure_line(right, confidence, .9) <= .4
    assert sure_line(~right[:8], confidence[:8], .9) is None

def test_two_odd_images_are_found_and_cost_most_of_the_looks():
    y, probs = scored()
    probs[[3, 7], 0], probs[[3, 7], 1] = (.0005, .0017), (.9995, .9983)
    lines = thresholds_for(miss_aim(), y, probs, two)
    keep = np.setdiff1d(np.arange(300), [3, 7])
    rest = expected(y[keep], probs[keep], two, thresholds_for(miss_aim(), y[keep], probs[keep], two))
    assert expected(y, probs, two, lines)['ok']['asked'] > 100 and rest['ok']['asked'] < 5
    assert limiting(miss_aim(), y, probs, two) == [3, 7]

def test_one_among_many_alike_is_not_named():
    y, probs = scored(far=1)
    assert limiting(miss_aim(), y, probs, two) == []

# Saved with a classifier

@pytest.fixture(scope='module')
def parts(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('decide'))

def test_an_answer_has_no_decision_until_one_is_saved(parts):
    p = parts.predict(part)
    assert p.decision is None and p.to_dict()['decision'] is None and p.decision_text == '' and p.answer == 'defect'

def test_an_answer_obeys_the_saved_decision(drawn, tmp_path):
    clf = drawn(tmp_path)
    for lines, said in (((.5, .6), 'defect'), ((None, .6), 'look_at_it')):
        edit(clf, Decision(dict(zip(two, lines)), dict(kind='thresholds')).to_dict())
        p = type(clf).load(clf.path).predict(part)
        assert p.decision == said and p.to_dict()['decision'] == said

@pytest.mark.parametrize('bad, key', [
    (7, 'decision'), (dict(aim=dict(kind='sure')), 'decision.thresholds'), (dict(thresholds=dict(defect=.5, ok=.6)), 'decision.aim'),
    (dict(thresholds=dict(defect=.5), aim=dict(kind='sure')), 'decision.thresholds'),
    (dict(thresholds=dict(defect=0, ok=.6), aim=dict(kind='sure')), 'decision.thresholds.defect'),
    (dict(thresholds=dict(defect='x', ok=.6), aim=dict(kind='sure')), 'decision.thresholds.defect'),
    (dict(thresholds=dict(defect=.5, ok=.6), aim=dict(kind='guess')), 'decision.aim.kind'),
    (dict(thresholds=dict(defect=.5, ok=.6), aim=dict(kind='sure', positive='cat')), 'decision.aim.positive'),
    (dict(thresholds=dict(defect=.5, ok=.6), aim=dict(kind='sure'), measured=dict(classes=dict(ok=3))), 'decision.measured.classes.ok')])
def test_a_damaged_decision_names_its_key(drawn, tmp_path, bad, key):
    clf = drawn(tmp_path)
    edit(clf, bad)
    with pytest.raises(QuickclsError) as e: type(clf).load(clf.path)
    assert f'{key} is' in str(e.value)

def test_a_class_called_as_a_decision_is_refused():
    with pytest.raises(QuickclsError, match='look_at_it'): checked(Decision(dict(look_at_it=.5, ok=.6), dict(kind='sure')))

def test_thresholds_that_overlap_are_refused():
    with pytest.raises(QuickclsError, match='overlap'): checked(Decision(dict(defect=.2, ok=.7), dict(kind='thresholds')))

def test_a_decision_is_the_same_after_writing_and_reading():
    d = Decision(dict(defect=.2, ok=None), dict(kind='thresholds', positive='defect'), dict(on='cross-validation', classes={}))
    assert decision_of(json.loads(json.dumps(dict(decision=d.to_dict())))) == d
