"From nothing to a classifier, as images arrive"
import json, re, time
from contextlib import contextmanager
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from quickcls.core import QuickclsError
from quickcls.builder.live import Live, shared_engines
from quickcls.data.formats import NotAnImage
from tests.axe import serious_faults
from tests.helpers import as_bytes, bad_files, repo, window

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

def remove_last(live, label): live.remove([*live.images(label)][-1:])

def test_remove_rename_drop_and_move(live):
    for i in range(6): live.add('red' if i % 2 else 'green', drawn(i))
    remove_last(live, 'red')
    assert live.counts() == {'red': 2, 'green': 3}
    assert live.rename_class('red', ' dark  red ') == 'dark red' and live.clf.vocab == ['dark red', 'green']
    assert live.add('green', drawn(1)) == 4 and live.counts() == {'dark red': 1, 'green': 4} # the last word counts
    assert live.add('green', drawn(1)) == 4
    live.drop_class('green')
    assert live.clf is None and len(list(live.folder.iterdir())) == 1
    remove_last(live, 'dark red')
    live.remove(['not there'])
    assert live.counts() == {'dark red': 0} and not list(live.folder.iterdir())

@pytest.mark.parametrize('name', ['', '../x', 'a/b', '.x', 'x\0', 'x'*61, 'RED', None])
def test_hostile_names(live, name):
    for call in (
        live.add_class,
        lambda n: live.rename_class('green', n),
        lambda n: live.save(n) if n != 'RED' else live.add_class(n),
        live.drop_class,
        live.images,
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
        remove_last(live, 'red')
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

# images seen, deleted, moved; visitors

def test_images_are_deleted_and_moved_by_their_content(live):
    for i in range(6): live.add('red' if i % 2 else 'green', drawn(i))
    first, *others = live.images('red')
    live.move([first, 'nobody'], 'green')
    assert live.counts() == {'red': 2, 'green': 4} and list(live.images('green'))[-1] == first and live.clf.vocab == ['red', 'green']
    live.move([first], 'green')
    assert live.counts() == {'red': 2, 'green': 4} and live.size == sum(f.stat().st_size for f in live.folder.iterdir())
    live.remove([first, *others])
    assert live.counts() == {'red': 0, 'green': 3} and live.clf is None and len(list(live.folder.iterdir())) == 3
    with pytest.raises(QuickclsError, match='blue'): live.move(list(live.images('green')), 'blue')

def test_visitors_do_not_see_each_other_and_their_number_is_bounded(monkeypatch):
    from quickcls.builder import visitors as v
    now = [1000.]
    monkeypatch.setattr(v.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(v, 'most_visitors', 3)
    visitors = v.Visitors(lambda: Live(('red', 'green'), arch='efficientnet_lite0', say=lambda s: None))
    tickets = [visitors.open()[0] for _ in range(3)]
    desks = [visitors.desk(t) for t in tickets]
    desks[0].live.add('red', drawn(0))
    sha256, = desks[0].live.images('red')
    assert desks[0].thumbnails([sha256])[sha256].startswith('data:image/') and desks[1].thumbnails([sha256]) == {}
    assert len(set(tickets)) == 3 and visitors.desk('guess') is None and visitors.open('guess') == (None, None) # all places are taken
    now[0] += v.away_after + 1
    assert visitors.desk(tickets[0]) and visitors.desk(tickets[2]) # these two are still here
    new, _ = visitors.open()
    assert new and visitors.desk(tickets[1]) is None and not desks[1].live.folder.exists()
    now[0] += v.forgotten_after + 1
    assert visitors.open(tickets[0])[0] != tickets[0] and not desks[0].live.folder.exists()
    visitors.close()

@pytest.fixture(scope='module')
def work():
    "What the script of the page can ask for, in two classes"
    pytest.importorskip('gradio', reason='no gradio')
    from quickcls.builder.page import Visitors, Work
    from quickcls.texts import Texts
    work = Work(Visitors(lambda: Live(('red', 'green'), arch='efficientnet_lite0', say=lambda s: None)), Texts('en'))
    yield work
    work.visitors.close()

hostile_words = [None, 'state', [], {}, dict(do='open', visitor=3), dict(do='__init__'), dict(do='visitors'), dict(do=['add'])]

@pytest.mark.parametrize('asked', hostile_words)
def test_hostile_words_do_nothing(work, asked):
    me = work(dict(do='open'))['visitor']
    given = work(dict(asked, visitor=me) if isinstance(asked, dict) and 'visitor' not in asked else asked)
    assert isinstance(given, dict) and ('gone' in given or given.get('errors') == []) and work(dict(do='state', visitor=me))['classes']

def test_hostile_parts_of_words_do_nothing(work):
    me = work(dict(do='open'))['visitor']
    for do in work.words:
        wrong = dict(name=['x'], to=3, images='all', file='/etc/passwd', files='all')
        for more in ({}, wrong, dict(name='red', files=[dict(path='/etc/passwd'), 3], to='../x')):
            if do != 'add_class': assert isinstance(work(dict(do=do, visitor=me, **more)), dict)
    assert [c['name'] for c in work(dict(do='state', visitor=me))['classes']] == ['red', 'green']

def test_a_class_that_another_window_deleted_takes_no_other_with_it(work):
    me = work(dict(do='open'))['visitor']
    for _ in range(2): work(dict(do='add_class', visitor=me))
    work(dict(do='delete_class', visitor=me, name='red'))
    before = [c['name'] for c in work(dict(do='delete_class', visitor=me, name='red'))['classes']]
    assert before == ['green', 'Class 3', 'Class 4'] and work(dict(do='rename', visitor=me, name='red', to='blue'))['errors']
    work(dict(do='delete_class', visitor=me, name='green'))
    assert work(dict(do='delete_class', visitor=me, name='Class 3'))['errors'] and len(work(dict(do='state', visitor=me))['classes']) == 2

# the page

@pytest.fixture
def uploads(tmp_path, monkeypatch): monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path/'uploads'))

@contextmanager
def served(**kwargs):
    pytest.importorskip('gradio', reason='no gradio')
    from quickcls.app.server import launch
    from quickcls.builder.page import live_page
    page = live_page(arch='efficientnet_lite0', **kwargs)
    try: yield launch(page, block=False, quiet=True).rstrip('/')
    finally: page.close(verbose=False)

def opened(browser, url, **how): return window(browser, url, '.qm-class', **how)

def some(label, n, start=0): return [str(p) for p in sorted((parts/label).glob('*.jpg'))[start:start + n]]
def page_file(folder):
    "A web page that is called like an image"
    (folder/'uploads').mkdir(exist_ok=True)
    (folder/'uploads'/'page.jpg').write_bytes(b'<html>404</html>')
    return str(folder/'uploads'/'page.jpg')
def upload(tab, i, files): tab.locator('.qm-files input').nth(i).set_input_files(files)
def shown(tab, *counts):
    "Wait until the classes show so many thumbnails"
    numbers = """ns => {
        const loaded = c => [...c.querySelectorAll('.qm-strip img')].filter(i => i.naturalWidth).length
        return JSON.stringify([...document.querySelectorAll('.qm-class')].map(loaded)) == JSON.stringify(ns)
    }"""
    tab.wait_for_function(numbers, arg=list(counts))
def errors(tab): return tab.locator('.qm-errors p').all_inner_texts()

def test_images_are_seen_moved_and_deleted_and_a_class_asks_first(browser, uploads):
    with served() as url, opened(browser, url) as tab:
        assert [tab.locator('.qm-title input').nth(i).input_value() for i in range(2)] == ['Class 1', 'Class 2']
        upload(tab, 0, some('ok', 3) + some('defect', 1))
        upload(tab, 1, some('defect', 2, 4))
        shown(tab, 4, 2)
        tab.locator('.qm-strip').first.locator('button').first.click() # the last one that came: a defect
        tab.get_by_role('button', name='Move to Class 2').click()
        shown(tab, 3, 3)
        tab.locator('.qm-strip').nth(1).locator('button').nth(2).click()
        tab.get_by_role('button', name='Delete', exact=True).click()
        shown(tab, 3, 2)
        tab.get_by_role('button', name='Add a class').click()
        shown(tab, 3, 2, 0)
        upload(tab, 2, some('ok', 2, 8))
        shown(tab, 3, 2, 2)
        tab.get_by_role('button', name='Delete class Class 3').click()
        assert tab.evaluate("document.activeElement.className") == 'qm-keepit' # the harmless answer
        tab.keyboard.press('Escape')
        shown(tab, 3, 2, 2)
        tab.get_by_role('button', name='Delete class Class 3').click()
        tab.get_by_role('button', name='Yes, delete').click()
        shown(tab, 3, 2)
        tab.reload()
        shown(tab, 3, 2) # nothing is lost

def test_a_held_button_records_and_the_answer_is_live(browser, uploads):
    "With the mouse, and by keyboard alone"
    with served() as url, opened(browser, url) as tab:
        upload(tab, 1, some('defect', 3))
        hold = tab.locator('.qm-hold').first
        hold.focus()
        tab.keyboard.press('Enter') # turns the camera on
        tab.wait_for_function("document.querySelector('.qm video').videoWidth > 0")
        tab.wait_for_selector('.qm-hold.qm-first')
        count = lambda: tab.locator('.qm-strip').first.locator('button').count()
        tab.keyboard.down('Space')
        tab.wait_for_function("document.querySelectorAll('.qm-class:first-child .qm-strip button').length > 3")
        tab.keyboard.up('Space')
        tab.wait_for_timeout(1000)
        n = count()
        tab.wait_for_timeout(800)
        assert count() == n # it has ended
        tab.wait_for_selector('.qm-bar')
        top = tab.locator('.qm-bar').first
        assert top.locator('bdi').inner_text() == 'Class 1'
        hold.hover()
        tab.mouse.down()
        tab.wait_for_function("n => document.querySelectorAll('.qm-class:first-child .qm-strip button').length > n + 2", arg=n)
        tab.mouse.up()
        tab.get_by_role('button', name='Turn off the camera').click()
        tab.wait_for_selector('.qm-bar', state='detached')

def test_two_visitors_see_their_own(browser, uploads):
    with served() as url, opened(browser, url) as anna:
        upload(anna, 0, some('ok', 2))
        shown(anna, 2, 0)
        with opened(browser, url) as ben:
            shown(ben, 0, 0)
            upload(ben, 1, some('defect', 1))
            shown(ben, 0, 1)
        second = anna.context.new_page() # a second window of the same browser
        second.goto(url)
        shown(second, 2, 0)
        anna.reload()
        shown(anna, 2, 0)

@pytest.mark.parametrize('size, scheme', [((1280, 800), 'light'), ((390, 844), 'dark')])
def test_accessibility_of_the_builder_and_no_sideways_scroll(browser, uploads, size, scheme):
    with served() as url, opened(browser, url, viewport=dict(width=size[0], height=size[1]), color_scheme=scheme) as tab:
        assert serious_faults(tab) == []
        for i, label in enumerate(('ok', 'defect')): upload(tab, i, some(label, 4))
        shown(tab, 4, 4)
        tab.get_by_role('button', name='Add a class').click()
        shown(tab, 4, 4, 0)
        tab.locator('.qm-tools input[type=file]').first.set_input_files(str(repo/'docs'/'parts'/'defect.jpg'))
        tab.wait_for_selector('.qm-bar')
        tab.locator('.qm-heat').check()
        tab.locator('.qm-strip button').first.click()
        tab.get_by_role('button', name='Delete class Class 3').click()
        tab.locator('.qm-keep button').click()
        tab.wait_for_selector('.qm-hint.qm-wrong:not(:empty)')
        assert serious_faults(tab) == [] and tab.evaluate('document.documentElement.scrollWidth - innerWidth') == 0

def test_without_a_camera_a_phone_takes_photos(browser, uploads):
    no_camera = "Object.defineProperty(Navigator.prototype, 'mediaDevices', {get: () => undefined})"
    with served(lang='de') as url, opened(browser, url, before=no_camera, viewport=dict(width=390, height=844)) as tab:
        assert not tab.locator('.qm-hold').first.is_visible() and 'https' in tab.locator('.qm-tools').inner_text()
        tab.locator('.qm-photo input').first.set_input_files(some('ok', 1))
        shown(tab, 1, 0)

def test_no_english_is_left_on_the_german_builder(browser, uploads, tmp_path):
    from quickcls.texts import catalogue
    english = {v for k, v in catalogue('en').items() if k.startswith('builder.') and v != catalogue('de')[k]}
    pieces = {p.strip(' .:,()') for v in english for p in re.split(r'\{\w+\}', v)} - {''}
    def no_english(tab):
        text = tab.locator('.qm').inner_text() + ' '.join(tab.locator('.qm [aria-label]').evaluate_all('es => es.map(e => e.ariaLabel)'))
        assert [p for p in pieces if re.search(rf'(?<!\w){re.escape(p)}(?!\w)', text)] == []
    with served(lang='de') as url, opened(browser, url) as tab:
        assert tab.locator('.qm-title input').first.input_value() == 'Klasse 1'
        no_english(tab)
        tab.get_by_role('button', name='Klasse hinzufügen').click()
        upload(tab, 0, [*some('ok', 2), page_file(tmp_path)])
        shown(tab, 2, 0, 0)
        tab.wait_for_selector('.qm-errors p')
        no_english(tab)
        upload(tab, 1, some('defect', 3))
        shown(tab, 2, 3, 0)
        tab.locator('.qm-strip button').first.click()
        tab.locator('.qm-drop').first.click()
        tab.locator('.qm-keep button').click()
        tab.locator('.qm-tools input[type=file]').first.set_input_files(str(repo/'docs'/'parts'/'defect.jpg'))
        tab.wait_for_selector('.qm-bar')
        no_english(tab)
        for bad in ('../x', 'klasse 2'):
            tab.locator('.qm-title input').first.fill(bad)
            tab.keyboard.press('Enter')
            tab.wait_for_function("b => document.querySelector('.qm-errors p')?.textContent.toLowerCase().includes(b)", arg=bad)
            no_english(tab)
        assert tab.locator('.qm-title input').first.input_value() == 'Klasse 1'

def test_from_nothing_to_a_saved_classifier(browser, uploads, quickcls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    defect = repo/'docs'/'parts'/'defect.jpg'
    with served() as url, opened(browser, url) as tab:
        save, hint = tab.locator('.qm-keep button'), tab.locator('.qm-hint')
        first = hint.inner_text()
        save.click()
        tab.wait_for_selector('.qm-hint.qm-wrong:not(:empty)')
        assert hint.inner_text() == first
        for i, name in enumerate(('fine', '<b>cracked')):
            tab.locator('.qm-title input').nth(i).fill(name)
            tab.keyboard.press('Tab')
            tab.wait_for_function('([i, n]) => document.querySelectorAll(".qm-class")[i].dataset.name == n', arg=[i, name])
        upload(tab, 0, some('ok', 12))
        shown(tab, 12, 0)
        assert 'fine' in hint.inner_text() and hint.inner_text() != first
        tab.locator('.qm-tools input[type=file]').first.set_input_files(str(defect))
        tab.wait_for_function("document.querySelector('.qm-eye img').naturalWidth > 0")
        upload(tab, 1, some('defect', 1))
        tab.wait_for_selector('.qm-bar') # it is alive
        bars = tab.locator('.qm-bars').inner_text()
        assert '<b>cracked' in hint.inner_text() # one image is too few to save
        upload(tab, 1, some('defect', 12) + [page_file(tmp_path)])
        shown(tab, 12, 12)
        tab.wait_for_function('b => document.querySelector(".qm-bars").innerText != b', arg=bars) # and it moves
        assert len(errors(tab)) == 1 and 'page.jpg' in errors(tab)[0]
        for bad in ('../evil', ''):
            tab.locator('.qm-keep input').fill(bad)
            save.click()
            tab.wait_for_selector('.qm-saved.qm-wrong')
        tab.locator('.qm-keep input').fill('wheels')
        save.click()
        tab.locator('.qm-saved code').wait_for(timeout=120_000)
        assert str(Path('models')/'wheels') in tab.locator('.qm-saved').inner_text()
    answer = json.loads(quickcls('predict', tmp_path/'models'/'wheels', defect, '--json').stdout)
    assert {t['label'] for t in answer['top']} == {'fine', '<b>cracked'} and (tmp_path/'models'/'wheels'/'report.html').is_file()
    assert {p.name for p in tmp_path.iterdir()} == {'models', 'wheels', 'uploads'}
