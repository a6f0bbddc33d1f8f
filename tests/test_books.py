"The notebooks of the tutorial and of the thesis: questions, their solutions, checks that can say no; eight networks, trained and loaded"
import json, re, runpy
from pathlib import Path
from types import SimpleNamespace
import nbformat, pandas as pd, pytest
from tests.helpers import repo, some_parts
from quickcls.core import QuickclsError

place, parts = repo/'nbs'/'tutorial', repo/'datasets'/'parts'
make = runpy.run_path(str(place/'make.py'))
Checks = runpy.run_path(str(place/'checks.py'))['Checks']

def committed(name): return nbformat.read(place/f'{name}.ipynb', 4)

def code(nb): return {c.id: c.source for c in nb.cells if c.cell_type == 'code'}

def answers(nb): return [id for id in code(nb) if id.endswith('-answer')]

def solved(nb):
    "The exercise with each folded solution in place of the dots"
    for c in nb.cells:
        if c.id in make['solutions'](nb): c.source = make['solutions'](nb)[c.id]
    return nb

@pytest.fixture
def run(cache, monkeypatch, tmp_path):
    "Function: notebook → executed in a folder with the plain module beside it, on the parts of `folder`"
    from nbclient import NotebookClient
    monkeypatch.setenv('PYTHONPATH', str(repo))
    def execute(nb, folder=parts):
        (tmp_path/'checks.py').write_text((place/'checks.py').read_text(encoding='utf-8'), encoding='utf-8')
        for c in nb.cells: c.source = c.source.replace("'../../datasets/parts'", repr(str(folder)))
        how = dict(store_widget_state=False, resources=dict(metadata=dict(path=str(tmp_path))))
        NotebookClient(nb, timeout=900, kernel_name='python3', **how).execute()
        return {c.id: ''.join(o.get('text', '') or o.get('data', {}).get('text/plain', '') for o in c.outputs)
                for c in nb.cells if c.cell_type == 'code'}
    return execute

def test_each_question_has_a_folded_solution_and_a_check():
    nb = committed('defects_exercise')
    ids, asked = [c.id for c in nb.cells], answers(nb)
    assert len(asked) == 12 and list(make['solutions'](nb)) == asked
    for id in asked:
        at = ids.index(id)
        assert ids[at + 1] == f'{id}-folded' and nb.cells[at + 1].source.startswith('<details>')
        assert nb.cells[ids.index(id.replace('-answer', '-check'))].source.startswith('check(') and '...' in nb.cells[at].source
    assert not [c.id for c in nb.cells if c.cell_type == 'code' and c.outputs]

@pytest.mark.parametrize('name', make['books'])
def test_they_are_what_their_drafts_say(name):
    "Executed where they have answers; without a path of somebody's machine"
    nb, drafted = committed(name), make['books'][name]()
    def words(nb): return [(c.id, re.sub(r'^\| (Machine|Time) .*$', '', c.source, flags=re.M)) for c in nb.cells]
    assert words(nb) == words(drafted)
    file = place/f'{name}.ipynb'
    assert file.stat().st_size < 600_000
    assert not re.search(r'(?<![\w.])/(home|Users|root|tmp|work|var|mnt)/', file.read_text(encoding='utf-8'))
    if name != 'defects_exercise': assert all(c.outputs for c in nb.cells if c.id.endswith('-check'))
    shown = [o for c in nb.cells if c.cell_type == 'code' for o in c.outputs]
    assert not [o for o in shown if o.output_type == 'error']

def test_the_solutions_were_right_when_they_were_executed():
    said = {c.id: ''.join(o.get('text', '') for o in c.outputs) for c in committed('defects_solution').cells if c.id.endswith('-check')}
    assert len(said) == 12 and all(v.startswith('✓') for v in said.values())

def test_without_an_answer_nothing_is_right_and_nothing_fails(monkeypatch, capsys):
    "Run from top to bottom before the first answer"
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    names = dict(display=print)
    for id, source in code(committed('defects_exercise')).items(): exec(compile(source, id, 'exec'), names)
    assert capsys.readouterr().out.count('not answered yet') == 12
    assert repr(names['check']) == '0 of 12 answers are right'

def rows(**columns): return SimpleNamespace(ran=pd.DataFrame(columns))

two = dict(accuracy=[.97, .90], p=[1., .01], within_chance=[True, False])
tied = dict(accuracy=[.97, .96], p=[1., .6], within_chance=[True, True])

@pytest.mark.parametrize('name, right, wrong', [
    ('counts', [dict(defect=120, ok=120)], [dict(defect=120, ok=119)]),
    ('counts', [dict(ok=120, defect=120)], [dict(defect=120, ok=120, other=1)]),
    ('baseline', [.5], [.9]),
    ('baseline', [.502], ['half']),
    ('network', ['efficientnet_lite0'], ['akaze-bow-svm']),
    ('network', ['efficientnet_lite1'], ['luna']),
    ('levels', [rows(levels=['all', 'last'], **two), 'all'], [rows(levels=['all', 'last'], **two), 'tie']),
    ('levels', [rows(levels=['last', 'all'], **tied), 'tie'], [rows(levels=['last', 'all'], **tied), 'last']),
    ('levels', [rows(levels=['last', 'all'], **two), 'last'], [rows(levels=['all', 'all'], **two), 'all']),
    ('copies', [rows(augment=['none', '4'], **two), 'without'], [rows(augment=['none', '4'], **two), 'with']),
    ('copies', [rows(augment=['4', 'none'], **two), 'with'], [rows(augment=['4', 'none'], **tied), 'with']),
    ('classic', [rows(arch=['a', 'akaze-bow-svm'], **two), 7.2], [rows(arch=['a', 'akaze-bow-svm'], **two), .07]),
    ('classic', [rows(arch=['akaze-bow-svm', 'a'], **two), -7], [rows(arch=['a', 'b'], **two), 7])])
def test_a_check_says_yes_and_no(name, right, wrong, capsys):
    check = Checks(str(parts))
    check(name, *right)
    assert check.right == {name: True}, capsys.readouterr().out
    check(name, *wrong)
    assert check.right == {name: False} and capsys.readouterr().out.splitlines()[-1].startswith('✗')

def test_the_smallest_share_is_one_that_chance_does_not_tell_from_the_best():
    t = rows(pct=[80, 50, 10, 5], accuracy=[.97, .96, .9, .8], n_test=[48]*4, within_chance=[True, True, False, False])
    check = Checks(str(parts))
    for answer, right in ((50, True), (80, False), (5, False)):
        check('share', t, answer)
        assert check.right['share'] is right
    check('share', rows(pct=[80, 50], accuracy=[.9, .9], n_test=[48]*2, within_chance=[True]*2), 50)
    assert check.right['share'] is False

def test_loading_says_what_to_train_first(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    source = code(committed('load_models'))['settings'].replace("'../../datasets/parts'", repr(str(parts)))
    with pytest.raises(QuickclsError, match='train_models.ipynb first'): exec(compile(source, 'settings', 'exec'), {})

def test_random_weights_are_not_called_pretrained():
    "In what was executed here: each of the eight is named; without its weights it has no row of the pretrained strategies"
    from quickcls.backbones.registry import thesis
    nb = committed('train_models')
    cells = {c.id: json.dumps([o.get('data', o.get('text', '')) for o in c.outputs]) for c in nb.cells if c.cell_type == 'code'}
    assert all(name in cells['networks'] for name in thesis) and 'absent on this machine' in cells['networks']
    assert all(name in cells['scratch'] for name in thesis[:3]) and 'could not be run' in cells['pretrained']

@pytest.mark.slow
def test_the_exercise_solved_is_right(run):
    said = run(solved(committed('defects_exercise')))
    assert said['all-checks'] == '12 of 12 answers are right', said

@pytest.mark.slow
def test_networks_are_trained_saved_and_loaded(run, tmp_path):
    "On a sample, two of them: what was saved is what is loaded"
    some_parts(tmp_path/'some'/'parts', slice(20))
    nb = committed('train_models')
    settings = next(c for c in nb.cells if c.id == 'settings')
    two = "thesis = ('luna', 'efficientnet_lite0')\nnetworks ="
    settings.source = settings.source.replace('96, 3 #', '64, 1 #').replace('networks =', two)
    run(nb, tmp_path/'some'/'parts')
    there = {p.name for p in (tmp_path/'models').iterdir()}
    assert there == {*(f'efficientnet_lite0-64-{s}' for s in ('head', 'partial', 'full')), 'luna-64-scratch', 'efficientnet_lite0-head'}
    loaded = run(committed('load_models'), tmp_path/'some'/'parts')
    assert all(name in loaded['all'] for name in there)
