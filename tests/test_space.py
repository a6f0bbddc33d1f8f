"What goes to the web: a folder that runs by itself, asks for no torch, and tells nothing of the machine it was made on"
import json, os, re, subprocess, sys
import numpy as np, pytest, yaml
from PIL import Image
from quickcls.model.classifier import Classifier
from quickcls.core import QuickclsError
from quickcls.report.thumbnails import Packed, pack_images
from quickcls.app.space import Public, most_examples, publish_help, requirements, space_header, write_examples, write_space
from tests.helpers import as_bytes, image, with_orientation, write_folder

hostile = ['<img src=x onerror=alert(1)>', '- "a": \'b\' #c {{ 7*7 }}']

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "(the folder of a classifier whose classes have odd names and whose images lay far up, its Space)"
    from quickcls.train.pipeline import train
    root = tmp_path_factory.mktemp('secret-place')
    write_folder(root/'clients'/'pets: "1"', **{c: 12 for c in hostile})
    examples = root/'at home'
    examples.mkdir()
    for i in range(9): (examples/f'ann-{i}.jpg').write_bytes(as_bytes(image(i, 900, 600), exif=with_orientation(6)))
    (examples/'note.txt').write_text('no image')
    clf = train(str(root/'clients'/'pets: "1"'), out=str(root/'models'/'pets: "1"'), arch='efficientnet_lite0', quiet=True)
    (clf.path/'corrections').mkdir()
    (clf.path/'corrections'/'private.jpg').write_bytes(b'1')
    pack_images(clf.path, say=lambda s: None)
    return clf.path, write_space(clf.path, root/'space', title='Pets: "mine" <b>', examples=examples)

def header(space): return yaml.safe_load((space/'README.md').read_text(encoding='utf8').split('---\n')[1])

def test_everything_is_there(made):
    _, space = made
    assert {p.name for p in space.iterdir()} == {
        'app.py',
        'requirements.txt',
        'README.md',
        '.gitattributes',
        '.gitignore',
        'classifier',
        'quickcls',
        'examples',
    }
    assert {p.name for p in (space / 'classifier').iterdir()} >= {
        'classifier.json',
        'metrics.json',
        'model.onnx',
        'weights.safetensors',
        'predictions.csv',
        'pictures.zip',
    }
    assert not (space/'classifier'/'corrections').exists() and not (space/'classifier'/'report.html').exists()
    packed = Packed(space/'classifier')
    assert len(packed) and all(packed.get(p) for p in Classifier.load(space/'classifier').evaluate().table.path)
    assert len((space/'app.py').read_text().splitlines()) <= 20
    assert not list(space.rglob('__pycache__'))

def test_the_header_is_what_the_hub_reads(made):
    h = header(made[1])
    assert (
        h['title'] == 'Pets: "mine" <b>'
        and h['sdk'] == 'gradio'
        and h['app_file'] == 'app.py'
        and re.fullmatch(r'3\.\d+', h['python_version'])
    )
    import gradio
    assert h['sdk_version'] == gradio.__version__
    assert len(h['short_description']) <= 60

@pytest.mark.parametrize(
    'name', ['a: b', "it's", '"', '#1', '- x', '{{ y }}', '<b>', '図', 'yes', '1.10', 'two\nlines: 3', '---', '@x', '!tag', '*']
)
def test_any_name_stands_in_the_header(name):
    h = yaml.safe_load(space_header(name, [name, 'x'*80]))
    assert h['title'] == ' '.join(name.split()) and ' 2 ' in h['short_description']
    assert f'{" ".join(name.split())} and z' in yaml.safe_load(space_header('x', [name, 'z']))['short_description']

def test_nothing_tells_where_it_was_made(made):
    model, space = made
    secret = [s.encode() for s in ('secret-place', 'clients', 'at home', 'ann-', 'site-packages', str(model))]
    told = [
        (p.relative_to(space), s)
        for p in space.rglob('*')
        if p.is_file() and 'quickcls' not in p.relative_to(space).parts
        for s in secret
        if s in p.read_bytes()
    ]
    assert told == []
    rows = (space/'classifier'/'predictions.csv').read_text().splitlines()
    assert len(rows) == 25 and all('/0' in r.split('.png')[0] and not r.startswith(('/', '"/')) for r in rows[1:])

def test_the_answers_stay(made):
    model, space = made
    images = [np.asarray(image(i)) for i in range(4)]
    assert [p.to_dict() for p in Classifier.load(space / 'classifier').predict(images)] == [
        p.to_dict() for p in Classifier.load(model).predict(images)
    ]
    assert json.loads((space/'classifier'/'classifier.json').read_text())['name'] == 'Pets: "mine" <b>' # which is what its page is called

def test_examples_are_written_anew(made, tmp_path):
    files = sorted((made[1]/'examples').iterdir())
    assert [p.name for p in files] == [f'{i}.jpg' for i in range(1, most_examples + 1)]
    im = Image.open(files[0])
    assert max(im.size) <= 640 and im.height > im.width and not im.getexif() # upright, and silent about it
    (tmp_path/'bad').mkdir()
    (tmp_path/'bad'/'x.jpg').write_text('no image')
    with pytest.raises(QuickclsError, match='examples'): write_examples([tmp_path/'bad'], tmp_path/'out')

def test_only_what_asking_needs(repo_settings):
    "No torch; and every version is the one of settings.ini, where quickcls is installed from it"
    names = [re.split('[<>=~!]', r)[0] for r in requirements()]
    assert not {'torch', 'torchvision', 'timm', 'fastai', 'onnx', 'onnxscript'} & set(names)
    assert set(names) <= {re.split('[<>=~!]', r)[0] for r in repo_settings}

@pytest.fixture
def repo_settings():
    "The requirements that settings.ini names"
    from configparser import ConfigParser
    from tests.helpers import repo
    ini = ConfigParser(delimiters=['='])
    ini.read(repo/'settings.ini', encoding='utf8')
    return ini['DEFAULT']['requirements'].split()

def test_nothing_of_somebody_else_is_replaced(made, tmp_path):
    model, space = made
    with pytest.raises(QuickclsError, match='force=True'): write_space(model, space)
    (tmp_path/'diary').mkdir()
    (tmp_path/'diary'/'app.py').write_text('print(1)')
    with pytest.raises(QuickclsError, match='diary|again'): write_space(model, tmp_path/'diary', force=True)
    assert (tmp_path/'diary'/'app.py').read_text() == 'print(1)'
    again = write_space(model, tmp_path/'again')
    (again/'.git').mkdir()
    with pytest.raises(QuickclsError, match='diary|again'): write_space(model, again, force=True) # its history would be lost
    (again/'.git').rmdir()
    (again/'old').touch()
    write_space(model, again, force=True)
    assert not (again/'old').exists() and not (again/'examples').exists()
    with pytest.raises(QuickclsError, match='space='): write_space(model, model/'space')
    with pytest.raises(QuickclsError, match='diary'): write_space(tmp_path/'diary', tmp_path/'new')
    with pytest.raises(QuickclsError, match='examples'): write_space(model, tmp_path/'new', examples=tmp_path/'diary')
    assert not (tmp_path/'new').exists() and sorted(p.name for p in tmp_path.iterdir()) == ['again', 'diary']

def test_a_card_of_ones_own_goes_along(made, tmp_path):
    import shutil
    shutil.copytree(made[0], tmp_path/'own')
    (tmp_path/'own'/'README.md').write_text('---\nlicense: cc-by-4.0\n---\n\n# My words\n')
    space = write_space(tmp_path/'own', tmp_path/'space')
    assert header(space)['license'] == 'cc-by-4.0' and '# My words' in (space/'README.md').read_text()
    for f in ('predictions.csv', 'metrics.json', 'README.md'): (tmp_path/'own'/f).unlink() # saved by hand: no table, no card
    assert 'trained by quickcls' in (write_space(tmp_path/'own', tmp_path/'bare')/'README.md').read_text()

def test_paths_and_sentences():
    public = Public('C:\\ann\\pets', ['cat'], [])
    assert (
        public.path('C:\\ann\\pets\\cat\\1.jpg') == 'cat/1.jpg'
        and public.folder('C:\\ann\\pets') == 'pets'
        and public.folder('/a/b/') == 'b'
    )
    public = Public('../pets', ['/home/x/cat'])
    assert (
        public.path('../pets/cat/1.jpg') == 'cat/1.jpg'
        and public.path('../other/1.jpg') == '1.jpg'
        and public.path('cat/1.jpg') == 'cat/1.jpg'
    )
    assert public(dict(largest=['/home/x/cat', 5], note='and/or 1/2, /home/ann/x.jpg; ~/a/b.csv')) == dict(
        largest=['/home/x/cat', 5], note='and/or 1/2, x.jpg; b.csv'
    )


def test_it_says_how_to_publish(made):
    text = publish_help(made[1])
    assert re.search(r'Space of \d+\.\d MB', text) and '--repo-type space' in text and 'hf auth login' in text

def test_the_page_starts_without_torch(made, tmp_path):
    "As on the hub: the folder's own copy of quickcls, and no package that only training needs"
    pytest.importorskip('gradio')
    pytest.importorskip('quickcls.demo')
    code = '''import sys, runpy
for m in ('torch', 'torchvision', 'timm', 'fastai', 'onnx', 'onnxscript', 'nbformat', 'ipywidgets'): sys.modules[m] = None
sys.path[0] = sys.argv[1]
app = runpy.run_path('app.py', run_name='app')
import quickcls
from quickcls.model.classifier import Classifier
clf = Classifier.load('classifier')
clf.explain('examples/1.jpg')
print(type(app['demo']).__name__, clf.predict('examples/1.jpg').label in clf.vocab, quickcls.__file__)'''
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | dict(PYTHONDONTWRITEBYTECODE='1', GRADIO_ANALYTICS_ENABLED='False')
    p = subprocess.run([sys.executable, '-c', code, str(made[1])], cwd=made[1], env=env, capture_output=True, text=True, timeout=120)
    assert p.returncode == 0, p.stderr
    assert p.stdout.split('\n')[-2] == f'Blocks True {made[1]/"quickcls"/"__init__.py"}'
