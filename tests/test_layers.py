"The order of the packages: imports go one way, light modules stay light, modules are what the notebooks say"
import ast, json, os, re, shutil, subprocess, sys
from pathlib import Path
import pytest
from tests.helpers import repo

order = (
    'caller',
    'core',
    'terminal',
    'texts',
    'folders',
    'data',
    'sources',
    'saved',
    'backbones',
    'features',
    'pixels',
    'duplicates',
    'groups',
    'heads',
    'decide',
    'model',
    'shards',
    'evaluate',
    'findings',
    'explain',
    'stress',
    'advice',
    'report',
    'multilabel',
    'predict',
    'stress_command',
    'train',
    'doctor',
    'sets',
    'compare',
    'asking',
    'app',
    'cleaner',
    'builder',
    'line',
    'demo',
    'cli',
    'all',
)
by_hand = {'all'} # the names that users import: written by hand, and nothing imports from it
package = repo/'quickcls'
modules = sorted(p for p in package.rglob('*.py') if not p.name.startswith('_'))
notebooks = sorted((repo/'nbs').rglob('[0-9]*_*.ipynb'))

def dotted(path, root=package):
    "`quickcls/data/images.py` → `data.images`; `nbs/data/04_images.ipynb` → `data.images`"
    *above, name = path.relative_to(root).with_suffix('').parts
    return '.'.join([*above, re.sub(r'^\d+[a-z]?_', '', name)])

names = {dotted(p): p for p in modules}
places = {dotted(p, repo/'nbs'): p.stem.split('_')[0] for p in notebooks} # name → number inside its package

def imported(path):
    "Names of the quickcls modules that a module imports, at its top or within functions"
    above = ['quickcls', *path.relative_to(package).parts[:-1]]
    for n in ast.walk(ast.parse(path.read_text(encoding='utf8'))):
        if isinstance(n, ast.Import): yield from (a.name.removeprefix('quickcls.') for a in n.names if a.name.startswith('quickcls.'))
        if not isinstance(n, ast.ImportFrom): continue
        parts = [*above[:len(above) - n.level + 1], *([n.module] if n.module else [])] if n.level else [n.module or '']
        whole = '.'.join(parts)
        if whole.partition('.')[0] != 'quickcls': continue
        whole = whole.removeprefix('quickcls').removeprefix('.')
        if whole in names: yield whole
        else: yield from ('.'.join(filter(None, [whole, a.name])) for a in n.names)

def place(name):
    "Where a module stands: its package in the order, then its number inside it"
    return order.index(name.partition('.')[0]), places.get(name, '') if '.' in name else ''

def test_every_module_has_a_notebook():
    "At the same place under the same name; no two notebooks of a package share a number"
    assert set(names) - by_hand == set(places)
    assert {n.partition('.')[0] for n in names} == set(order)
    for folder in {p.parent for p in notebooks}:
        numbers = [p.stem.split('_')[0] for p in notebooks if p.parent == folder]
        assert len(set(numbers)) == len(numbers)

@pytest.mark.parametrize('name', names)
def test_imports_go_one_way(name):
    "A module imports only from packages before its own, and inside it from notebooks before its own: there are no circles"
    assert [m for m in imported(names[name]) if m not in names] == []
    assert [m for m in imported(names[name]) if place(m) >= place(name)] == []

def test_packages_are_small():
    "At most eight modules each"
    counts = {p: sum(n.startswith(f'{p}.') for n in names) for p in order}
    assert {p: n for p, n in counts.items() if n > 8} == {}

@pytest.mark.parametrize('name', names)
def test_modules_are_small(name):
    "At most 300 lines"
    assert len(names[name].read_text(encoding='utf8').splitlines()) <= 300

def test_nothing_is_imported_wholesale():
    "No `import *` between modules"
    assert not [n for n, p in names.items() if re.search(r'^\s*from \S+ import \*', p.read_text(encoding='utf8'), re.M)]

light = (
    'core terminal.text terminal.progress terminal.suggest terminal.idle folders.what_is '
    'data.images data.items data.split data.corrections backbones.registry backbones.weights backbones.onnx_graph backbones.engines '
    'features.augment features.embed features.bow heads.head heads.linear heads.mlp heads.fit '
    'heads.crossval heads.calibration heads.open_set decide.decision decide.aim decide.wanted '
    'evaluate.style evaluate.plots evaluate.predictions evaluate.learning_curve evaluate.none_of_these evaluate.diagnostics '
    'evaluate.thresholds explain.evidence explain.attribution explain.heatmap explain.shortcuts model.update train.options train.pipeline '
    'predict.command predict.deciding compare.grid compare.command app.space builder.live builder.page line.log line.station '
    'line.page texts stress.changes stress.words stress_command'
).split()


@pytest.mark.parametrize('name', light)
def test_light_modules_stay_light(python, name):
    "What answers a `--help` or a prediction starts without torch, fastai, pandas and the like"
    heavy = ('torch', 'torchvision', 'timm', 'fastai', 'pandas', 'matplotlib', 'sklearn', 'openvino', 'onnx', 'cv2', 'IPython')
    assert python(f'import sys, quickcls.{name}; print([m for m in {heavy} if m in sys.modules])').strip() == '[]'

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
    def texts(root): return {str(p.relative_to(root)): p.read_text(encoding='utf8') for p in (root/'quickcls').rglob('*.py')}
    there, exported = texts(repo), texts(copy)
    assert set(there) == set(exported) and [n for n in there if there[n] != exported[n]] == []

def test_notebooks_are_clean(copied):
    "`nbdev-clean` has nothing to do"
    copy = copied('nbdev-clean')
    def content(path): return json.loads(path.read_text(encoding='utf8'))
    assert [p.name for p in notebooks if content(p) != content(copy/p.relative_to(repo))] == []

@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.stem)
def test_cells_have_names(path):
    "Each cell has an id in words, its own in the notebook; no metadata of an editor"
    nb = json.loads(path.read_text(encoding='utf8'))
    ids = [c['id'] for c in nb['cells']]
    assert len(set(ids)) == len(ids)
    assert [i for i in ids if not re.fullmatch('[a-z][a-z0-9]*(-[a-z0-9]+)*', i) or re.fullmatch('(?=.*[0-9])[0-9a-f-]{6,}', i)] == []
    assert [c['id'] for c in nb['cells'] if c['metadata']] == [] and set(nb['metadata']) <= {'kernelspec', 'language_info'}
    assert nb['metadata']['kernelspec']['name'] == 'python3'

def test_the_documentation_shows_the_packages_as_they_are():
    "The image of the packages and the list of files are drawn from the code"
    import runpy
    drawn = runpy.run_path(str(repo/'docs'/'layout.py'))
    assert drawn['order'] == order and drawn['layout']() in (repo/'docs'/'how_it_is_built.md').read_text(encoding='utf8'), 'run `make docs`'

def test_what_users_import_is_offered():
    "`from quickcls.all import *` gives every name that the module brings together"
    tree = ast.parse((package/'all.py').read_text(encoding='utf8'))
    brought = {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names} | {'quick_learner'}
    offered = next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == '__all__')
    assert brought == set(offered) - {'new', 'plot_pictures'} # the names of version 0.1

def test_quick_learner_shows_its_parameters(python):
    "To `help` and to an editor; fastai is imported only then"
    code = 'import sys, inspect; from quickcls.all import quick_learner; print("fastai" in sys.modules, inspect.signature(quick_learner))'
    shown = python(code)
    assert shown.startswith('False') and 'unfreeze' in shown and 'valid_pct' in shown
