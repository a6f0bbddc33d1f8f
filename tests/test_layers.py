"The order of the house: imports go down, light rooms stay light, modules are what the notebooks say"
import ast, json, os, re, shutil, subprocess, sys
from pathlib import Path
import pytest
from tests.helpers import repo

notebooks = sorted((repo/'nbs').glob('[0-9]*.ipynb'))
number = {p.stem.split('_', 1)[1]: p.stem.split('_')[0] for p in notebooks} | {'all': 'z'} # `all` is a door for notebooks, written by hand: it imports from everywhere, and nothing from it
modules = sorted(p for p in (repo/'quickcls').glob('*.py') if not p.name.startswith('_'))

def imported(path):
    "Names of the quickcls modules that a module imports, at its top or within functions"
    for n in ast.walk(ast.parse(path.read_text(encoding='utf8'))):
        if isinstance(n, ast.Import): yield from (a.name.split('.')[1] for a in n.names if a.name.startswith('quickcls.'))
        if isinstance(n, ast.ImportFrom):
            whole = f'quickcls.{n.module}'.removesuffix('.None') if n.level else n.module
            if whole == 'quickcls': yield from (a.name for a in n.names)
            elif whole.startswith('quickcls.'): yield whole.split('.')[1]

def test_numbers_are_in_order():
    "Each module has a notebook, and no two notebooks share a number"
    assert {m.stem for m in modules} | {'all'} == set(number) and len(set(number.values())) == len(number)

@pytest.mark.parametrize('path', modules, ids=lambda p: p.stem)
def test_imports_go_down(path):
    "A module imports only from notebooks of lower numbers, within functions too"
    assert [m for m in imported(path) if number[m] >= number[path.stem]] == []

@pytest.mark.parametrize('path', modules, ids=lambda p: p.stem)
def test_modules_are_small(path):
    "At most 300 lines"
    assert len(path.read_text(encoding='utf8').splitlines()) <= 300

def test_nothing_is_imported_wholesale():
    "No `import *` between modules"
    assert not [m.name for m in modules if re.search(r'^\s*from \S+ import \*', m.read_text(encoding='utf8'), re.M)]

@pytest.mark.parametrize('module', ['core', 'pictures', 'data', 'backbones', 'graphs', 'engines', 'features', 'heads', 'networks', 'crossval', 'calibrate', 'figures', 'plots', 'evaluate', 'curve', 'trust', 'thresholds', 'evidence', 'explain', 'focus', 'corrections', 'teach', 'live', 'classic', 'train', 'space', 'scenarios', 'compare'])
def test_light_rooms_stay_light(python, module):
    "What answers a `--help` or a prediction starts without torch, fastai, pandas and the like"
    heavy = ('torch', 'torchvision', 'timm', 'fastai', 'pandas', 'matplotlib', 'sklearn', 'openvino', 'onnx', 'cv2', 'IPython')
    assert python(f'import sys, quickcls.{module}; print([m for m in {heavy} if m in sys.modules])').strip() == '[]'

@pytest.fixture(scope='module')
def copied(tmp_path_factory):
    "Function: an nbdev command → the copy of the repository in which it was run"
    def run(command):
        copy = tmp_path_factory.mktemp(command)/'quickcls'
        for d in ('nbs', 'quickcls'): shutil.copytree(repo/d, copy/d, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
        for f in ('pyproject.toml', 'settings.ini', 'setup.py', 'README.md'): shutil.copy(repo/f, copy/f)
        exe = shutil.which(command, path=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
        if not exe: pytest.skip(f'no {command}')
        env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'PYTHONPATH')}
        subprocess.run([exe], cwd=copy, env=env, check=True, capture_output=True, timeout=120)
        return copy
    return run

def test_the_export_is_up_to_date(copied):
    "`nbdev-export` gives the modules that are there: nothing was edited by hand, nothing forgotten"
    copy = copied('nbdev-export')
    assert {p.name for p in (copy/'quickcls').glob('*.py')} == {p.name for p in (repo/'quickcls').glob('*.py')}
    assert [p.name for p in modules if p.read_text(encoding='utf8') != (copy/'quickcls'/p.name).read_text(encoding='utf8')] == []

def test_notebooks_are_clean(copied):
    "`nbdev-clean` has nothing to do"
    copy = copied('nbdev-clean')
    assert [p.name for p in notebooks if json.loads(p.read_text(encoding='utf8')) != json.loads((copy/'nbs'/p.name).read_text(encoding='utf8'))] == []

@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.stem)
def test_cells_have_names(path):
    "Each cell has an id in words, its own in the notebook; no metadata of an editor"
    nb = json.loads(path.read_text(encoding='utf8'))
    ids = [c['id'] for c in nb['cells']]
    assert len(set(ids)) == len(ids)
    assert [i for i in ids if not re.fullmatch('[a-z][a-z0-9]*(-[a-z0-9]+)*', i) or re.fullmatch('(?=.*[0-9])[0-9a-f-]{6,}', i)] == []
    assert [c['id'] for c in nb['cells'] if c['metadata']] == [] and set(nb['metadata']) <= {'kernelspec', 'language_info'}
    assert nb['metadata']['kernelspec']['name'] == 'python3'
