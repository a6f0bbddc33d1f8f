"A cache of its own, no network, real photographs where they are, a folder with every odd file, and what all tests share"
import contextlib, io, os, shutil, signal, subprocess, sys, warnings
from pathlib import Path
from types import SimpleNamespace
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent)) # the tests are of this tree, whatever is installed
os.environ['HF_HUB_OFFLINE'] = '1' # huggingface_hub reads it once, when it is imported
from tests.helpers import as_bytes, bad_files, broken_images, odd_images, image, repo
from tests.photos import folder

# started in the background of a script, a process and its children ignore Ctrl+C; tests that press it must not depend on that
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)

@pytest.fixture(scope='session')
def shared(tmp_path_factory):
    "A folder that all workers of a run of pytest-xdist share"
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base)/'shared'
    path.mkdir(exist_ok=True)
    return path

@pytest.fixture(scope='session')
def once(shared):
    "Function: a name and a function that fills a folder → that folder, filled once in a run, whichever worker asks first. Only to be read"
    from filelock import FileLock
    def made(name, fill):
        path, done = shared/name, shared/f'{name}.done'
        with FileLock(shared/f'{name}.lock'):
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True) # of a try that failed
                fill(path)
                done.touch()
        return path
    return made

@pytest.fixture(scope='session', autouse=True)
def cache(shared):
    "A cache folder for this run alone: a user's own is never touched. Workers share it: each embeds and exports what no other did before"
    path = shared/'cache'
    path.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as m:
        wide = dict(COLUMNS='400') # what is printed is not wrapped, unless a test asks for it
        quiet = dict(QUICKCLS_CACHE=str(path), HF_HUB_OFFLINE='1', QUICKCLS_QUIET='1', QUICKCLS_DEVICE='cpu', RAY_USAGE_STATS_ENABLED='0')
        for k, v in (quiet | wide).items(): m.setenv(k, v)
        m.delenv('QUICKCLS_PRECISION', raising=False)
        yield path

@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    "A cache folder for one test alone"
    monkeypatch.setenv('QUICKCLS_CACHE', str(tmp_path/'own-cache'))
    return tmp_path/'own-cache'

@pytest.fixture(scope='session')
def graphs_of(cache):
    "Function: arch and folder → that folder as a cache that holds the graphs of arch and no embeddings; a context in which it is the cache"
    from quickcls.backbones.onnx_graph import get_graph
    from quickcls.backbones.registry import parse_views
    @contextlib.contextmanager
    def alone(arch, folder):
        (folder/'graphs').mkdir(parents=True)
        for path in (get_graph(view, offline=True).path for view in parse_views(arch)):
            for p in (path, path.with_suffix('.json')): shutil.copy(p, folder/'graphs')
        with pytest.MonkeyPatch.context() as m:
            m.setenv('QUICKCLS_CACHE', str(folder))
            yield folder
    return alone

@pytest.fixture(scope='session')
def drawn(cache, once):
    """Function: a folder → a copy in it of the classifier that `train` makes of all drawn parts, called `parts`, for a test or
    module to ask and to change; `packed`: with thumbnails. It is trained once in a run"""
    def fill(folder):
        from quickcls.report.thumbnails import pack_images
        from quickcls.train.pipeline import train
        plain = train(str(repo/'datasets'/'parts'), out=str(folder/'plain'/'parts'), arch='efficientnet_lite0', quiet=True).path
        pack_images(shutil.copytree(plain, folder/'packed'/'parts'), say=lambda s: None)
    def copy(folder, packed=False):
        from quickcls.all import Classifier
        return Classifier.load(shutil.copytree(once('drawn', fill)/('packed' if packed else 'plain')/'parts', folder/'parts'))
    return copy

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
def quickcls_process(cache):
    "Function: words of the command line → the finished process; for what a process does: its start, its crash, its imports, its limits"
    def run(*words, cwd=repo, **env):
        code = 'import sys; from quickcls.cli import main; sys.exit(main())'
        env = os.environ | {'PYTHONPATH': str(repo)} | env
        return subprocess.run([sys.executable, '-c', code, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    return run

@contextlib.contextmanager
def said_warnings():
    "Warnings as a program of its own shows them: on standard error"
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning): warnings.simplefilter('ignore', kind)
        warnings.showwarning = lambda *about: sys.stderr.write(warnings.formatwarning(*about[:4]))
        yield

@pytest.fixture(scope='session')
def quickcls(cache):
    "Function: words of the command line → exit code, standard output and error, as of `quickcls_process`, but without a new process"
    from quickcls.cli import main
    def run(*words, cwd=repo, **env):
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding='utf-8', write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as m:
            m.chdir(cwd)
            for k, v in env.items(): m.setenv(k, str(v))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), said_warnings():
                try: code = main([str(w) for w in words])
                except SystemExit as e: code = e.code # of argparse
        out, err = (f.buffer.getvalue().decode().replace('\r\n', '\n') for f in (out, err))
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)
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
