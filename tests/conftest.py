"A cache of its own, no network, real photographs where they are, and a folder with every odd file"
import os, shutil, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent)) # the tests are of this tree, whatever is installed
os.environ['HF_HUB_OFFLINE'] = '1' # huggingface_hub reads it once, when it is imported
from tests.helpers import as_bytes, bad_files, broken_images, odd_images, image, repo
from tests.photos import folder

@pytest.fixture(scope='session', autouse=True)
def cache(tmp_path_factory):
    "A cache folder for this run alone: a user's own is never touched"
    path = tmp_path_factory.mktemp('cache')
    with pytest.MonkeyPatch.context() as m:
        for k, v in dict(QUICKCLS_CACHE=str(path), HF_HUB_OFFLINE='1', QUICKCLS_QUIET='1', QUICKCLS_DEVICE='cpu').items(): m.setenv(k, v)
        m.delenv('QUICKCLS_PRECISION', raising=False)
        yield path

@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    "A cache folder for one test alone"
    monkeypatch.setenv('QUICKCLS_CACHE', str(tmp_path/'own-cache'))
    return tmp_path/'own-cache'

@pytest.fixture(scope='session')
def photos():
    "Function: name of a set of real photographs, as in `photos.csv` → its folder; skips where it is absent"
    def find(name):
        path = folder/name
        if not path.is_dir(): pytest.skip(f'no photographs {name}; tests/photos.py says how to have them')
        return path
    return find

@pytest.fixture(scope='session')
def python(cache):
    "Function: source text and arguments → what another Python process printed; `start=True` gives the running process"
    def run(code, *args, start=False):
        env = os.environ | {'PYTHONPATH': str(repo)}
        p = subprocess.Popen(
            [sys.executable, '-c', code, *map(str, args)], cwd=repo, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if start: return p
        out, err = p.communicate(timeout=300)
        assert p.returncode == 0, err
        return out
    return run

@pytest.fixture
def messy_folder(tmp_path):
    "A labelled folder with every odd and bad file: `root`, `good` {path: label}, `bad` {name: reason}, `broken` names"
    root, good, bad = tmp_path/'messy', {}, {}
    def put(path, data, label=None):
        path = root/path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if label: good[str(path)] = label
    odd_names = ['a.jpg?resize=1200%2c852', 'b.php', 'C.JPG', 'no extension', 'd;w=960;h=1', "e'f\"g.jpeg", '<b>h.jpg', '图.jpg']
    for c, label in enumerate(['дуб', '寿司', '🐻', '42', 'two words', '<b>x "y"']):
        for i, name in enumerate(odd_names): put(Path(label)/name, as_bytes(image((c, i))), label)
    for name, data in odd_images().items(): put(Path('дуб')/name, data, 'дуб')
    put('寿司/more/and deeper/nested.jpg', as_bytes(image(99)), '寿司')
    for name, (data, reason) in bad_files().items():
        put(Path('42') / name, data)
        bad[name] = reason
    broken = broken_images()
    for name, data in broken.items(): put(Path('🐻')/name, data, '🐻')
    for passed_over in ['.ipynb_checkpoints/a.jpg', '__MACOSX/a.jpg', '.DS_Store', '._a.jpg', 'Thumbs.db']:
        put(Path('42') / passed_over, as_bytes(image(98)))
    put('__MACOSX/42/a.jpg', as_bytes(image(97)))
    put('README.txt', b'about these images')
    put('alone.jpg', as_bytes(image(96)))
    bad['alone.jpg'] = 'lies beside the class folders, so it has no label'
    (root/'42'/'up').symlink_to(root, target_is_directory=True)
    (root / '42' / 'gone.jpg').symlink_to(root / 'nowhere.jpg')
    bad['gone.jpg'] = 'No such file or directory'
    return SimpleNamespace(root=root, good=good, bad=bad, broken=set(broken))

@pytest.fixture(scope='session')
def quickcls(cache):
    "Function: words of the command line → the finished process"
    def run(*words, cwd=repo, **env):
        code = 'import sys; from quickcls.cli import main; sys.exit(main())'
        return subprocess.run(
            [sys.executable, '-c', code, *map(str, words)],
            cwd=cwd,
            env=os.environ | {'PYTHONPATH': str(repo)} | env,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run

@pytest.fixture(scope='session')
def browser():
    "Chromium: the system's, else the one Playwright brought; with a camera that shows a test image"
    sync_api = pytest.importorskip('playwright.sync_api', reason='no playwright')
    path = os.environ.get('CHROMIUM') or shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    flags = [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-background-networking',
        '--disable-quic',
        '--use-fake-ui-for-media-stream',
        '--use-fake-device-for-media-stream',
    ]
    with sync_api.sync_playwright() as p:
        try: b = p.chromium.launch(executable_path=path, args=flags)
        except sync_api.Error as e: pytest.skip(f'no chromium: {str(e).splitlines()[0]}')
        yield b
        b.close()
