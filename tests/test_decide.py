"A decision saved with a classifier: what it says, and what is refused"
import json, re
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
    (dict(thresholds=dict(defect=.5, ok=.6), aim=dict(kind='max_miss', positive='ok')), 'decision.aim.max_miss'),
    (dict(thresholds=dict(defect=.5, ok=.6), aim=dict(kind='sure', sure=.9), measured=dict(on='x', classes={})), 'decision.measured'),
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
    lines, aim = dict(defect=.2, ok=None), dict(kind='thresholds', positive='defect')
    d = Decision(lines, aim, dict(on='cross-validation', classes=dict(defect=dict(n=1, right=1, wrong=0, asked=0))))
    assert decision_of(json.loads(json.dumps(dict(decision=d.to_dict())))) == d

# `quickcls decide`

def test_decide_saves_what_it_shows_and_predict_obeys(drawn, tmp_path, quickcls):
    clf = drawn(tmp_path)
    made = quickcls('decide', clf.path, '--max-miss', '1/50', '--positive', 'defect')
    d = type(clf).load(clf.path).decision
    assert made.returncode == 0 and str(d) in ' '.join(made.stdout.split()) and d.aim['max_miss'] == .02 and d.positive == 'defect'
    assert all(r['wrong'] <= .02*r['n'] for r in d.measured['classes'].values()) and d.measured['classes']['defect']['n'] == 120
    assert (clf.path/'decision.png').read_bytes().startswith(b'\x89PNG')
    answer = json.loads(quickcls('predict', clf.path, part, '--json').stdout)
    assert answer['decision'] == d.of({t['label']: t['probability'] for t in answer['top']}, answer['unknown'])
    shown = quickcls('decide', clf.path, '--show')
    assert str(d) in ' '.join(shown.stdout.split())
    assert quickcls('decide', clf.path, '--clear').returncode == 0
    assert type(clf).load(clf.path).decision is None and not (clf.path/'decision.png').exists()

def test_decide_in_python_changes_the_open_classifier_and_the_saved_one(drawn, tmp_path):
    import quickcls.all # noqa: F401, adds `Classifier.decide`
    clf = drawn(tmp_path)
    d = clf.decide(thresholds=dict(defect=.999999)).decision
    assert clf.decision == d == type(clf).load(clf.path).decision and d.thresholds['ok'] == pytest.approx(1e-6)

@pytest.mark.parametrize('words, said', [
    (['--max-miss', '1/200', '--cost', '5'], '--cost'), (['--max-miss', '200'], "'200'"), (['--cost', '-1', '--positive', 'ok'], '--cost'),
    (['--positive', 'defekt'], 'Did you mean defect'), (['--thresholds', 'defect=0.2,ok=0.3'], 'overlap'), (['--cost', '5'], '--positive'),
    (['--thresholds', 'defect'], "'defect'"), (['--ask', '1'], '--cost'),
    (['--show', '--sure', '90%'], '--sure'), (['--sure', '0'], '--sure')])
def test_a_wrong_aim_is_one_sentence_and_saves_nothing(drawn, parts, quickcls, words, said):
    before = (parts.path/'classifier.json').read_bytes()
    r = quickcls('decide', parts.path, *words)
    assert r.returncode == 1 and said in r.stderr and r.stderr.count('\n') == 1
    assert (parts.path/'classifier.json').read_bytes() == before

def test_many_classes_are_decided_by_confidence(tmp_path, quickcls):
    from tests.helpers import classifier_folder
    vocab = ['ash', 'oak', 'elm', 'fir']
    classifier_folder(tmp_path/'trees', vocab, 400, wrong=.1)
    assert '--sure' in quickcls('decide', tmp_path/'trees', '--max-miss', '1/100').stderr
    r = quickcls('decide', tmp_path/'trees', '--sure', '95%')
    d = decision_of(json.loads((tmp_path/'trees'/'classifier.json').read_text()))
    rows = d.measured['classes'].values()
    right, wrong = (sum(r[k] for r in rows) for k in ('right', 'wrong'))
    assert r.returncode == 0 and len(set(d.thresholds.values())) == 1 and right/(right + wrong) >= .95
    assert d.measured['on'] == 'the held-out images' and 'held-out' in r.stdout

def test_two_odd_images_are_named_with_the_figures_without_them(tmp_path, quickcls):
    "As with castings: 112 of 150 good ones would be left to a person"
    import pandas as pd
    from tests.helpers import classifier_folder
    y, probs = scored()
    probs[[3, 7], 0], probs[[3, 7], 1] = (.0005, .0017), (.9995, .9983)
    classifier_folder(tmp_path/'cast', two, 300)
    t = pd.read_csv(tmp_path/'cast'/'predictions.csv').iloc[:300]
    t = t.assign(label=[two[i] for i in y], predicted=[two[i] for i in probs.argmax(1)], split='fold')
    t = t.assign(p_defect=probs[:, 0], p_ok=probs[:, 1])
    t.to_csv(tmp_path/'cast'/'cross_validation.csv', index=False)
    said = quickcls('decide', tmp_path/'cast', '--positive', 'defect').stdout
    assert t.path[3] in said and t.path[7] in said and t.path[4] not in said
    keep = [i for i in range(300) if i not in (3, 7)]
    rest = Decision(thresholds_for(miss_aim(), y[keep], probs[keep], two), miss_aim())
    assert f'without them: {rest}' in ' '.join(said.split()) and '598' in said

def test_a_looser_aim_is_offered_where_much_is_left_to_a_person(tmp_path, quickcls):
    from tests.helpers import classifier_folder
    classifier_folder(tmp_path/'trees', ['ash', 'oak', 'elm'], 300, wrong=.3)
    said = ' '.join(quickcls('decide', tmp_path/'trees', '--sure', '99%').stdout.split())
    offered = [int(v) for v in re.findall(r'--sure \d+%: (\d+)%', said)]
    assert len(offered) == 3 and offered == sorted(offered, reverse=True)

def test_no_predictions_no_measured_thresholds(drawn, tmp_path, quickcls):
    clf = drawn(tmp_path)
    for f in ('predictions.csv', 'cross_validation.csv'): (clf.path/f).unlink()
    assert '--thresholds' in quickcls('decide', clf.path).stderr
    assert quickcls('decide', clf.path, '--thresholds', '0.9').returncode == 0
    assert type(clf).load(clf.path).decision.thresholds == dict(defect=.9, ok=.9)

def test_a_link_is_not_written_through(drawn, tmp_path, quickcls):
    clf, other = drawn(tmp_path), tmp_path/'other.json'
    (clf.path/'classifier.json').rename(other)
    (clf.path/'classifier.json').symlink_to(other)
    before = other.read_bytes()
    assert quickcls('decide', clf.path).returncode == 1 and other.read_bytes() == before

# Another classifier in its place

def test_a_training_into_the_same_folder_drops_the_decision_and_says_how_to_make_it_again(drawn, tmp_path, quickcls):
    clf = drawn(tmp_path)
    quickcls('decide', clf.path, '--max-miss', '1/50', '--positive', 'defect')
    again = ('train', repo/'datasets'/'parts', '--out', clf.path, '--arch', 'efficientnet_lite0', '--force')
    said = ' '.join(quickcls(*again).stdout.split())
    assert type(clf).load(clf.path).decision is None
    assert f'quickcls decide {clf.path} --positive defect --max-miss 0.02' in said

def test_a_taught_class_is_left_to_a_person(drawn, tmp_path):
    from quickcls.model.update import Teacher
    clf = drawn(tmp_path)
    edit(clf, Decision(dict(defect=.2, ok=.8), dict(kind='thresholds')).to_dict())
    teacher = Teacher.of(type(clf).load(clf.path), tmp_path/'corrections')
    teacher.teach(part.read_bytes(), 'scratch')
    p = teacher.clf.predict(part)
    assert p.label == 'scratch' and p.decision == 'look_at_it'

def test_a_space_carries_the_decision(drawn, tmp_path):
    from quickcls.app.space import copy_classifier
    clf = drawn(tmp_path)
    d = Decision(dict(defect=.2, ok=.9), dict(kind='thresholds', positive='defect', thresholds=dict(defect=.2, ok=.9)))
    edit(clf, d.to_dict())
    copy_classifier(clf.path, tmp_path/'copy', 'parts')
    assert type(clf).load(tmp_path/'copy').decision == d
