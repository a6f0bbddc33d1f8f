"TensorBoard: what is written can be read back, by its own reader and by people in a browser; the examples of docs/tracking.md run"
import os, re, shutil, socket, subprocess, sys, time
from contextlib import nullcontext
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest
from PIL import Image
from tests.helpers import repo, write_folder
from quickcls.core import QuickclsError

pytest.importorskip('tensorboard', reason="no tensorboard: pip install 'quickcls[board]'")
from quickcls.train.tensorboard import check_board, few_numbers, thumbnails, training_curves, write_board

def read(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(run))
    events.Reload()
    return events

@pytest.fixture(scope='module')
def written(tmp_path_factory):
    "A run about 20 drawn images: folder of runs, the run, what was said"
    root = tmp_path_factory.mktemp('board')
    folder = write_folder(root/'set', a=10, b=10)
    paths = sorted(folder.glob('*/*.png'))
    table = pd.DataFrame(dict(path=list(map(str, paths)), label=[p.parent.name for p in paths], predicted='a', split='valid'))
    table.loc[0, 'label'] = 'tab\there\nand <b>more'
    x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    curves = training_curves(
        dict(train_valid_loss=[[0.9, 0.8], [0.5, 0.6]]),
        dict(learning_curve=dict(points=[dict(n=10, accuracy=0.5), dict(n=20, accuracy=0.75)])),
    )
    run, said = write_board(
        root / 'runs',
        name='set',
        curves=curves,
        confusion=pd.crosstab(table.label, table.predicted),
        embeddings=x,
        table=table,
        words=dict(command='quickcls train set'),
        most=15,
    )
    return SimpleNamespace(runs=root/'runs', run=run, said=said, x=x, table=table, set=folder)

def test_what_is_written_reads_back(written):
    "Curves with their steps, one image, the command, and a row of metadata a point"
    events = read(written.run)
    assert [(s.step, round(s.value, 3)) for s in events.Scalars('loss/valid')] == [(1, .8), (2, .6)]
    assert [(s.step, s.value) for s in events.Scalars('accuracy/by training images')] == [(10, .5), (20, .75)]
    assert events.Tags()['images'] == ['confusion matrix'] and 'command/text_summary' in events.Tags()['tensors']
    assert '3 curves' in written.said and '15 of 20 images' in written.said
    here = written.run/'00000'/'images'
    rows = (here/'metadata.tsv').read_text().splitlines()
    assert rows[0] == 'label\tpredicted\tsplit\tpath' and len(rows) == 16 and {r.count('\t') for r in rows} == {3}
    points, by_path = np.loadtxt(here/'tensors.tsv'), dict(zip(written.table.path, written.x))
    np.testing.assert_allclose(points, [by_path[r.split('\t')[3]] for r in rows[1:]], atol=1e-6)
    sprite = np.asarray(Image.open(here/'sprite.png').convert('RGB'))
    assert sprite.shape == (256, 256, 3) # four in a row
    np.testing.assert_allclose(sprite[:64, 64:128], 255*thumbnails([rows[2].split('\t')[3]])[0].transpose(1, 2, 0), atol=1)

def test_a_second_run_has_a_folder_of_its_own_and_images_can_stay_at_home(written, tmp_path):
    "No thumbnails and no paths where they must not leave; an unreadable image is grey"
    for want in ('set', 'set-2', 'set-3'):
        run, _ = write_board(tmp_path, name='set', embeddings=written.x, table=written.table, images=False)
        assert run.name == want
    assert not list(run.rglob('sprite.png')) and '.png' not in (run/'00000'/'images'/'metadata.tsv').read_text()
    assert np.unique(thumbnails([tmp_path/'gone.png'], 8)).round(2).tolist() == [.5]

def test_long_embeddings_keep_their_neighbours():
    "A hundred numbers in place of a thousand: the nearest of each stays the nearest"
    x = np.random.default_rng(0).normal(size=(300, 4))@np.random.default_rng(1).normal(size=(4, 1000))
    near = lambda x: (((x[:, None] - x[None])**2).sum(-1) + 1e9*np.eye(len(x))).argmin(1)
    assert few_numbers(x).shape == (300, 100) and (near(few_numbers(x).astype(float)) == near(x)).mean() > .99

def test_errors_come_before_the_work(written, monkeypatch, tmp_path):
    "No TensorBoard, a folder among the images, rows that do not belong together"
    with pytest.raises(QuickclsError, match='tensorboard='): check_board(written.set/'runs', written.set)
    with pytest.raises(QuickclsError, match=r'\b20 embeddings.*\b3 rows'):
        write_board(tmp_path, name='x', embeddings=written.x, table=written.table[:3])
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    with pytest.raises(QuickclsError, match=r"pip install 'quickcls\[board\]'"):
        check_board(tmp_path, written.set)


def asked(url):
    "What a server answers; nothing where it does not yet"
    from urllib.request import urlopen
    try: return urlopen(url, timeout=5).read().decode()
    except OSError: return ''

@pytest.mark.slow
def test_people_see_it_in_a_browser(browser, written):
    "TensorBoard on that folder: the curves, the matrix, and the projector with 15 points named by their labels"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    served = subprocess.Popen(
        [
            sys.executable,
            '-m',
            'tensorboard.main',
            '--logdir',
            str(written.runs),
            '--port',
            str(port),
            '--host',
            '127.0.0.1',
            '--load_fast',
            'false',
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    path = os.environ.get('CHROMIUM') or shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    drawing = browser.browser_type.launch(
        executable_path=path,
        args=['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--disable-background-networking'],
    )  # the projector needs WebGL
    try:
        url, until = f'http://127.0.0.1:{port}', time.monotonic() + 60
        while '"set"' not in asked(f'{url}/data/runs') and time.monotonic() < until: time.sleep(.3) # it serves before it has read
        page = drawing.new_page(viewport=dict(width=1300, height=850))
        page.set_default_timeout(35_000)
        page.goto(f'{url}/#timeseries')
        page.locator('scalar-card').first.wait_for(state='attached')
        page.get_by_text('confusion matrix').first.wait_for()
        page.goto(f'{url}/#projector')
        page.reload()
        until, seen = (
            time.monotonic() + 30,
            lambda: [f for f in page.frames if f.locator('.numDataPoints').count()],
        )  # each page of TensorBoard is a frame
        while not (seen() and seen()[0].locator('.numDataPoints').first.inner_text().strip() == '15') and time.monotonic() < until:
            page.wait_for_timeout(500)
        assert [f.locator('.numDataPoints').first.inner_text().strip() for f in seen()] == ['15']
    finally:
        drawing.close()
        served.terminate()
        served.wait()


@pytest.mark.slow
def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    "docs/tracking.md: TensorBoard as it stands, Weights & Biases and MLflow on stand-ins that keep what they are told"
    board, each_epoch, wandb, mlflow = re.findall(r'```python\n(.*?)```', (repo/'docs'/'tracking.md').read_text(), re.S)
    write_folder(tmp_path/'pets', cat=12, dog=12)
    monkeypatch.chdir(tmp_path)
    names, told = {}, []
    def keep(figures, step): told.append((step, figures))
    monkeypatch.setitem(sys.modules, 'wandb', SimpleNamespace(init=lambda **kw: nullcontext(), log=keep))
    monkeypatch.setitem(sys.modules, 'mlflow', SimpleNamespace(start_run=nullcontext, log_metrics=keep))
    exec(board.replace("quick_learner('pets/')", "quick_learner('pets/', 'efficientnet_lite0@32')"), names)
    for run in ('head', 'tuned'):
        assert {'train_loss', 'valid_loss', 'accuracy', 'lr_0'} <= set(read(tmp_path / 'runs' / run).Tags()['scalars'])
    for example in (wandb, mlflow):
        told.clear()
        exec(each_epoch + example, names)
        assert [step for step, _ in told] == list(range(10)) and all(set(v) == {'train_loss', 'valid_loss', 'accuracy'} for _, v in told)
