"From nothing to a classifier, as images arrive"
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from quickcls.core import QuickclsError
from quickcls.builder.live import Live, shared_engines
from quickcls.data.formats import NotAnImage
from tests.helpers import as_bytes, bad_files, repo

parts = repo/'datasets'/'parts'
def drawn(i):
    return as_bytes(
        Image.fromarray(np.random.default_rng(i).normal(np.eye(3)[i % 3] * 90 + 80, 40, (64, 64, 3)).clip(0, 255).astype(np.uint8))
    )


@pytest.fixture
def live():
    with Live(('red', 'green'), arch='efficientnet_lite0', say=lambda s: None) as l: yield l

def test_it_answers_from_one_image_of_each(live):
    assert live.clf is None and live.counts() == {'red': 0, 'green': 0}
    assert live.add('red', drawn(0)) == 1 and live.clf is None
    assert live.add('green', drawn(1)) == 1
    first = live.clf
    assert first.vocab == ['red', 'green'] and first is live.clf and .5 < first.predict(drawn(3)).top[0]['probability'] < .99
    for i in range(2, 30): live.add(('red', 'green', 'blue')[i % 3], drawn(i)) if i % 3 < 2 else None
    assert [live.clf.predict(drawn(i)).label for i in (99, 100)] == ['red', 'green']
    assert live.known_enough() is None

def test_hints(live):
    live.add('red', drawn(0))
    assert 'red: 1 ' in live.known_enough() and 'green: 0 ' in live.known_enough()
    live.drop_class('green')
    assert 'red' in live.known_enough()

def test_take_back_rename_drop_and_move(live):
    for i in range(6): live.add('red' if i % 2 else 'green', drawn(i))
    assert live.take_back('red') == 2 and live.counts() == {'red': 2, 'green': 3}
    assert live.rename_class('red', ' dark  red ') == 'dark red' and live.clf.vocab == ['dark red', 'green']
    assert live.add('green', drawn(1)) == 4 and live.counts() == {'dark red': 1, 'green': 4} # the last word counts
    assert live.add('green', drawn(1)) == 4
    live.drop_class('green')
    assert live.clf is None and len(list(live.folder.iterdir())) == 1
    live.take_back('dark red')
    with pytest.raises(QuickclsError, match='dark red'): live.take_back('dark red')

@pytest.mark.parametrize('name', ['', '../x', 'a/b', '.x', 'x\0', 'x'*61, 'RED', None])
def test_hostile_names(live, name):
    for call in (
        live.add_class,
        lambda n: live.rename_class('green', n),
        lambda n: live.save(n) if n != 'RED' else live.add_class(n),
        live.drop_class,
        live.take_back,
        lambda n: live.add(n, drawn(0)),
    ):
        with pytest.raises(QuickclsError): call(name)
    assert live.counts() == {'red': 0, 'green': 0} and not list(live.folder.iterdir())

def test_bad_images(live):
    for data, reason in bad_files().values():
        with pytest.raises(NotAnImage): live.add('red', data)
    assert live.counts()['red'] == 0 and not list(live.folder.iterdir())

def test_twelve_hundred_images():
    "From four threads at once; the head in well under a second"
    images = [drawn(i) for i in range(1200)]
    with Live(('red', 'green', 'blue'), arch='efficientnet_lite0') as live:
        t = time.perf_counter()
        with ThreadPoolExecutor(4) as pool: list(pool.map(lambda i: live.add(('red', 'green', 'blue')[i % 3], images[i]), range(1200)))
        embedded = time.perf_counter() - t
        live.clf
        live.take_back('red')
        t = time.perf_counter()
        clf = live.clf
        head = time.perf_counter() - t
        assert live.counts() == {'red': 399, 'green': 400, 'blue': 400} and clf.predict(drawn(1203)).label == 'red'
    assert embedded < 60 and head < 2, (embedded, head)

def test_sessions_share_the_network(live):
    with Live(arch='efficientnet_lite0') as other: assert other._engines is live._engines is shared_engines('efficientnet_lite0')[1]
    assert not other.folder.exists() and live.folder.exists()

def test_saved_it_is_an_ordinary_classifier(quickcls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Live(('defect', 'fine <b>'), arch='efficientnet_lite0', folder=tmp_path/'kept') as live:
        for kind, folder in (('defect', 'defect'), ('fine <b>', 'ok')):
            for p in sorted((parts/folder).iterdir())[:25]: live.add(kind, p.read_bytes())
        clf = live.save('my parts')
        assert clf.path == Path('models/my parts') and (clf.path/'report.html').is_file()
        assert {p.name: len(list(p.iterdir())) for p in (tmp_path/'my parts').iterdir()} == {'defect': 25, 'fine <b>': 25}
        with pytest.raises(QuickclsError, match='my parts'): live.save('my parts')
        with pytest.raises(QuickclsError, match='my parts'): live.save('my parts', force=True)
    p = quickcls('predict', tmp_path/'models'/'my parts', repo/'docs'/'parts'/'defect.jpg')
    assert p.returncode == 0 and 'defect' in p.stdout
    assert len(list((tmp_path/'kept').iterdir())) == 50

def test_too_little_to_save(live, tmp_path):
    live.add('red', drawn(0))
    live.add('red', drawn(3))
    live.add('green', drawn(1))
    with pytest.raises(QuickclsError, match='green.* 1'):
        live.save('x', out=tmp_path / 'm', data=tmp_path / 'd')
    live.drop_class('green')
    with pytest.raises(QuickclsError, match='1 class'): live.save('x', out=tmp_path/'m', data=tmp_path/'d')
    assert list(tmp_path.iterdir()) == []

def test_kinds_that_would_be_taken_for_sides(tmp_path):
    with Live(('train', 'test'), arch='efficientnet_lite0') as live:
        for i in range(8): live.add('train' if i % 2 else 'test', drawn(i))
        with pytest.raises(QuickclsError, match='train.*test|test.*train'): live.save('x', out=tmp_path/'m', data=tmp_path/'d')
