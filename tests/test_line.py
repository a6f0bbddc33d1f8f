"The line page: one large answer, by a saved decision, logged; from a camera or a folder; in each language of the catalogue"
import csv, json, os, re, shutil, sqlite3, subprocess, sys
from string import Formatter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
import pytest
from quickcls.findings.finding import kinds
from quickcls.core import QuickclsError
from quickcls.line.folder import FolderWatch
from quickcls.line.log import LineLog, LogRow, columns, time_now
from quickcls.line.station import Station, looks_of
from quickcls.texts import Texts, catalogue, choose_lang, languages
from tests.axe import serious_faults
from tests.helpers import as_bytes, image, repo, window

defect, fine = repo/'docs'/'parts'/'defect.jpg', sorted((repo/'datasets'/'parts'/'ok').glob('*.jpg'))[3]

# texts

@pytest.mark.parametrize('lang', languages())
def test_every_language_has_every_text_with_its_fields(lang):
    english, other = catalogue('en'), catalogue(lang)
    assert set(english) == set(other) and all(v.strip() for v in other.values())
    def fields(texts): return {k: sorted(f[1:3] for f in Formatter().parse(v) if f[1] is not None) for k, v in texts.items()}
    def parts(texts): return {k: v.count('|') for k, v in texts.items()}
    assert fields(english) == fields(other) and parts(english) == parts(other)

def test_the_language_is_that_of_the_option_then_of_the_variable_then_of_the_machine(monkeypatch):
    for k in ('QUICKCLS_LANG', 'LC_ALL', 'LC_MESSAGES', 'LANG'): monkeypatch.delenv(k, raising=False)
    assert choose_lang() == 'en' and choose_lang('de') == 'de' and choose_lang('de-AT') == 'de'
    monkeypatch.setenv('LANG', 'de_DE.UTF-8')
    assert choose_lang() == 'de'
    monkeypatch.setenv('LANG', 'tlh')
    assert choose_lang() == 'en'
    monkeypatch.setenv('QUICKCLS_LANG', 'de')
    assert choose_lang() == 'de' and choose_lang('en') == 'en'
    with pytest.raises(QuickclsError, match='tlh.*de, en'): choose_lang('tlh')

def test_a_text_that_is_missing_is_english(monkeypatch):
    from quickcls import texts
    monkeypatch.setattr(texts, 'catalogue', lambda lang: {'a.b': 'two {n}', 'a.c': 'C'} if lang == 'en' else {'a.b': 'zwei {n}'})
    t = Texts('de')
    assert t('a.b', n=2) == 'zwei 2' and t('a.c') == 'C' and t.of('x') == {}

@pytest.mark.parametrize('page', ['line', 'builder', 'cleaner'])
def test_a_page_uses_its_texts_and_has_no_others(page):
    "Each key that the page names is there, and none is left over"
    source = ''.join((repo/'quickcls'/'templates'/f'{page}{s}').read_text(encoding='utf8') for s in ('.js', '.html'))
    source += ''.join(p.read_text(encoding='utf8') for p in (repo/'quickcls'/page).glob('*.py'))
    there = {k.partition('.')[2] for k in catalogue('en') if k.startswith(f'{page}.')}
    named = {*re.findall(r"'(\w+)'", source), *re.findall(rf'{page}\.(\w+)', source)}
    built = {k for k in there if re.search(r'_(hint|[01n])$', k)} # from a word and an ending
    built |= {'look_at_it', 'none_of_these', 'unreadable'} # the decisions themselves
    if page == 'cleaner': built |= {f'kind_{k}' for k in kinds} # of findings
    assert there - named - built == set()
    assert {*re.findall(r"\bt\('(\w+)'[,)]", source)} - there == set()
    assert not re.findall(r'>\s*[A-Z][a-z]+ [a-z]', (repo/'quickcls'/'templates'/f'{page}.html').read_text(encoding='utf8'))

# log

def row(**given): return LogRow(**(dict(time=time_now(), sha256='ab'*32, file='a.jpg', answer='ok', probability=.9, decision='ok') | given))
def read(path): return list(csv.DictReader(path.read_text(encoding='utf-8-sig').splitlines()))

def test_a_csv_log_is_added_to_and_opens_in_a_spreadsheet(tmp_path):
    path = tmp_path/'line.csv'
    LineLog(path).add(row(file='=HYPERLINK("http://x")', answer='Öl'))
    LineLog(path).add(row(file='line\nbreak, "quoted"', decision='look_at_it', correction='@ok'))
    first, second = read(path)
    assert path.read_bytes().startswith(b'\xef\xbb\xbf') and list(first) == columns
    assert path.read_text(encoding='utf-8-sig').count('time,sha256') == 1
    assert first['file'] == '\'=HYPERLINK("http://x")' and first['answer'] == 'Öl' and float(first['probability']) == .9
    assert second['file'] == 'line?break, "quoted"' and second['correction'] == "'@ok"
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d', first['time'])

def test_a_row_that_was_cut_off_costs_no_other(tmp_path):
    path = tmp_path/'line.csv'
    LineLog(path).add(row())
    whole = path.read_bytes()
    for cut in (b'2026-01-01T00:00', b'2026-01-01,"half a na', b'2026-01-01,"a ""b'):
        path.write_bytes(whole + cut)
        LineLog(path).add(row(file='after.jpg'))
        rows = read(path)
        assert rows[0]['file'] == 'a.jpg' and rows[-1]['file'] == 'after.jpg' and len(rows) == 3

@pytest.mark.parametrize('name', ['line.csv', 'line.sqlite'])
def test_several_processes_write_into_one_log(tmp_path, name):
    code = ('import sys; from quickcls.line.log import LineLog, LogRow, time_now\n'
            'log = LineLog(sys.argv[1])\n'
            'for i in range(40): log.add(LogRow(time_now(), "ab"*32, f"{sys.argv[2]}-{i}, x.jpg", "ok", .5, "ok"))')
    env = os.environ | {'PYTHONPATH': str(repo)}
    started = [subprocess.Popen([sys.executable, '-c', code, str(tmp_path/name), str(n)], env=env) for n in range(3)]
    assert [p.wait(timeout=120) for p in started] == [0, 0, 0]
    if name.endswith('.csv'): files = [r['file'] for r in read(tmp_path/name)]
    else: files = [f for f, in sqlite3.connect(tmp_path/name).execute('select file from line')]
    assert sorted(files) == sorted(f'{n}-{i}, x.jpg' for n in range(3) for i in range(40))

def test_a_file_of_something_else_is_not_written_to(tmp_path):
    prices, notes = tmp_path/'prices.csv', tmp_path/'notes.db'
    prices.write_text('part,price\n1,2\n')
    notes.write_text('no database, but long enough to be looked at '*20)
    for path in (prices, notes, tmp_path/'line.txt', tmp_path, tmp_path/'nowhere'/'line.csv'):
        with pytest.raises(QuickclsError): LineLog(path)
    assert prices.read_text() == 'part,price\n1,2\n' and notes.read_text().startswith('no database') and not (tmp_path/'nowhere').exists()

def test_rows_wait_while_the_log_cannot_be_written(tmp_path):
    path = tmp_path/'line.csv'
    log = LineLog(path)
    path.rename(tmp_path/'moved.csv')
    path.mkdir()
    for i in range(2):
        with pytest.raises(QuickclsError, match='line.csv'): log.add(row(file=f'{i}.jpg'))
    path.rmdir()
    log.add(row(file='2.jpg'))
    assert [r['file'] for r in read(path)] == ['0.jpg', '1.jpg', '2.jpg']

# answers

@pytest.fixture(scope='module')
def parts(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('line'))

@pytest.fixture(scope='module')
def decided(drawn, tmp_path_factory):
    "The drawn parts with a decision by which the defect of the docs is acted on, and nearly all else is looked at"
    from quickcls.all import Classifier
    clf = drawn(tmp_path_factory.mktemp('decided'))
    d = json.loads((clf.path/'classifier.json').read_text(encoding='utf8'))
    aim = dict(kind='max_miss', max_miss=.005, max_alarms=.005, positive='defect')
    d['decision'] = dict(thresholds=dict(defect=.5, ok=.9999), aim=aim, measured={})
    (clf.path/'classifier.json').write_text(json.dumps(d, ensure_ascii=False), encoding='utf8')
    return Classifier.load(clf.path)

def test_good_and_bad_by_decision_by_name_and_by_option(parts, decided):
    from dataclasses import replace
    of = lambda *vocab, good=None: list(looks_of(replace(parts, vocab=list(vocab)), good).values())
    assert looks_of(decided) == dict(defect='bad', ok='good')
    assert of('def_front', 'ok_front') == ['bad', 'good'] and of('dent', 'good', 'scratch') == ['bad', 'good', 'bad']
    assert of('ants', 'bees') == ['class', 'class']
    assert of('ants', 'bees', good='bees') == ['bad', 'good'] and of('blue', 'defect') == ['good', 'bad']
    with pytest.raises(QuickclsError, match='wasps.*ants'): of('ants', 'bees', good='wasps')

def test_an_answer_is_logged_and_so_is_its_correction(decided, tmp_path):
    station = Station(decided, tmp_path/'line.csv')
    given = station.answer(defect.read_bytes(), 'defect.jpg')
    assert given['look'] == 'bad' and given['decision'] == 'defect' and given['top'][0][0] == 'defect'
    assert station.answer(fine.read_bytes(), 'fine.jpg')['look'] == 'look_at_it'
    assert station.answer(b'<html>', 'page.jpg')['look'] == 'unreadable'
    assert station.correct(given['ticket'], 'ok')['logged']
    assert station.correct(given['ticket'], 'wasp') is None and station.correct('x', 'ok') is None
    rows = read(tmp_path/'line.csv')
    assert [(r['file'], r['decision'], r['correction']) for r in rows] == [
        ('defect.jpg', 'defect', ''), ('fine.jpg', 'look_at_it', ''), ('page.jpg', 'unreadable', ''), ('defect.jpg', 'defect', 'ok')]
    import hashlib
    assert rows[0]['sha256'] == rows[3]['sha256'] == hashlib.sha256(defect.read_bytes()).hexdigest() and rows[2]['probability'] == ''

def test_an_answer_comes_though_the_log_cannot_be_written(parts, tmp_path):
    said = []
    station = Station(parts, tmp_path/'line.csv', say=said.append)
    (tmp_path/'line.csv').unlink()
    (tmp_path/'line.csv').mkdir()
    given = station.answer(defect.read_bytes(), 'defect.jpg')
    assert given['decision'] == 'defect' and given['logged'] is False and 'line.csv' in said[0]

def test_many_at_once(parts, tmp_path):
    station = Station(parts, tmp_path/'line.sqlite')
    with ThreadPoolExecutor(6) as pool: given = list(pool.map(lambda i: station.answer(as_bytes(image(i)), f'{i}.jpg'), range(24)))
    assert sorted(g['n'] for g in given) == list(range(1, 25))
    assert sqlite3.connect(tmp_path/'line.sqlite').execute('select count(distinct file) from line').fetchone() == (24,)

# folder

def test_the_newest_complete_image_comes_first_and_nothing_is_changed(tmp_path):
    names = lambda: [p.name for p, _ in watch.look()]
    for i, name in enumerate(('old.jpg', 'newest.png')):
        image(i).save(tmp_path/name)
        os.utime(tmp_path/name, (1e9 + i, 1e9 + i))
    (tmp_path/'line.csv').write_text('a,b\n')
    (tmp_path/'.hidden.jpg').write_bytes(b'x')
    watch = FolderWatch(tmp_path)
    assert [names(), names()] == [['newest.png'], []]
    whole = as_bytes(image(5, 300, 300))
    (tmp_path/'slow.jpg').write_bytes(whole[:2000])
    assert [names(), names(), names()] == [[], [], []]
    (tmp_path/'slow.jpg').write_bytes(whole)
    assert [names(), names(), names()] == [[], ['slow.jpg'], []]
    for i in range(3):
        image(10 + i).save(tmp_path/f'{i}.jpg')
        os.utime(tmp_path/f'{i}.jpg', (2e9 + i, 2e9 + i))
    names()
    assert names() == ['2.jpg', '1.jpg', '0.jpg']
    image(20).save(tmp_path/'1.jpg') # a camera that writes the same name again
    names()
    assert names() == ['1.jpg']
    (tmp_path/'cut.jpg').write_bytes(whole[:2000])
    os.utime(tmp_path/'cut.jpg', (1e9, 1e9)) # it has been so for long
    names()
    assert names() == ['cut.jpg'] and len(list(tmp_path.iterdir())) == 9
    assert (tmp_path/'slow.jpg').read_bytes() == whole

# the page

pytest.importorskip('gradio', reason='no gradio')
from quickcls.app.server import launch
from quickcls.line.page import line_page

@pytest.fixture(scope='module', autouse=True)
def uploads(tmp_path_factory):
    with pytest.MonkeyPatch.context() as m:
        m.setenv('GRADIO_TEMP_DIR', str(tmp_path_factory.mktemp('uploads')))
        yield

@contextmanager
def opened(browser, page, context={}, before='', address=lambda url: url, **launched):
    "A browser on the page: no error in it, no request to anywhere else"
    try:
        url = address(launch(page, block=False, quiet=True, **launched).rstrip('/'))
        with window(browser, url, '.qk-word:not(:empty)', before, **context) as tab: yield tab
    finally:
        page.close_line()
        page.close(verbose=False)

def look(tab): return tab.locator('.qk').get_attribute('data-look')
def ready(tab): tab.wait_for_function("document.querySelector('.qk video')?.videoWidth > 0")
def answered(tab, n):
    tab.wait_for_function(r'n => (document.querySelector(".qk-count").textContent.match(/\d+/) || [])[0] == n', arg=str(n))

def hidden(tab):
    "Pixels that have to be scrolled, down and sideways"
    return tab.evaluate("[document.querySelector('.qk').scrollHeight - innerHeight, document.documentElement.scrollWidth - innerWidth]")

def test_a_camera_by_keyboard_alone(browser, decided, tmp_path):
    log = tmp_path/'line.csv'
    with opened(browser, line_page(decided, log=log)) as tab:
        ready(tab)
        assert look(tab) == 'wait' and tab.locator('.qk-classes button:enabled').count() == 0
        tab.keyboard.press('Space')
        answered(tab, 1)
        tab.keyboard.press('2')
        tab.wait_for_selector('.qk-person:not(:empty)')
        assert tab.locator('.qk-classes [aria-pressed=true]').inner_text().split()[0] == 'ok'
        tab.keyboard.press('Space')
        answered(tab, 2)
        assert tab.locator('.qk-person').inner_text() == '' and tab.locator('.qk-view img').evaluate('i => i.naturalWidth') > 300
        tab.keyboard.press('s')
        assert tab.locator('.qk-sound').get_attribute('aria-pressed') == 'true'
        tab.reload()
        ready(tab)
        assert tab.locator('.qk-sound').get_attribute('aria-pressed') == 'true' # remembered
    rows = read(log)
    assert [r['correction'] for r in rows] == ['', 'ok', ''] and len({r['sha256'] for r in rows}) == 2
    assert rows[0]['decision'] == 'none_of_these'

def test_a_photo_every_second(browser, parts):
    with opened(browser, line_page(parts, every=1)) as tab:
        answered(tab, 3)
        assert not tab.locator('.qk-take').is_visible()

@pytest.mark.parametrize('size, scheme', [((1280, 800), 'light'), ((390, 844), 'dark')])
def test_a_folder_its_three_answers_and_accessibility(browser, decided, tmp_path, size, scheme):
    folder = tmp_path/'camera'
    folder.mkdir()
    page = line_page(decided, watch=folder, log=tmp_path/'line.csv', lang='en')
    with opened(browser, page, dict(viewport=dict(width=size[0], height=size[1]), color_scheme=scheme)) as tab:
        assert look(tab) == 'wait' and serious_faults(tab) == []
        seen = []
        sent = {'bad.jpg': defect.read_bytes(), 'unsure.jpg': fine.read_bytes(), 'odd.jpg': as_bytes(image(3, 300, 300))}
        for n, (name, data) in enumerate(sent.items(), 1):
            (folder/name).write_bytes(data)
            answered(tab, n)
            seen.append((look(tab), tab.locator('.qk-shape path, .qk-shape rect').first.get_attribute('d')))
            assert name in tab.locator('.qk-count').inner_text()
            tab.wait_for_function("document.querySelector('.qk-view img').naturalWidth > 100")
            assert serious_faults(tab) == [] and hidden(tab) == [0, 0]
            size_of_letters = tab.locator('.qk-word').evaluate('e => parseFloat(getComputedStyle(e).fontSize)')
            assert size_of_letters >= (90 if size[0] > 1000 else 48)
        assert [s[0] for s in seen] == ['bad', 'look_at_it', 'none_of_these'] and len({s[1] for s in seen}) == 3
        tab.locator('.qk-classes button', has_text='ok').click()
        tab.wait_for_selector('.qk-person:not(:empty)')
    assert [r['correction'] for r in read(tmp_path/'line.csv')] == ['', '', '', 'ok'] and len(list(folder.iterdir())) == 3

def test_no_english_is_left_on_the_german_page(browser, decided, parts, tmp_path):
    english = {v for k, v in catalogue('en').items() if k.startswith('line.') and v != catalogue('de')[k]}
    pieces = {p.strip(' .:,') for v in english for p in re.split(r'\{\w+\}', v)} - {''}
    def no_english(tab):
        text = tab.locator('.qk').inner_text() + ' '.join(tab.locator('.qk [aria-label]').evaluate_all('es => es.map(e => e.ariaLabel)'))
        assert [p for p in pieces if re.search(rf'(?<!\w){re.escape(p)}(?!\w)', text)] == []
    watched = line_page(parts, lang='de', watch=tmp_path, log=tmp_path/'line.csv')
    for name, page in (('camera', line_page(decided, lang='de')), ('folder', watched)):
        with opened(browser, page) as tab:
            assert tab.evaluate('document.documentElement.lang') == 'de'
            no_english(tab)
            if name == 'camera':
                ready(tab)
                tab.keyboard.press('Space')
            else: (tmp_path/'broken.jpg').write_bytes(b'\xff\xd8\xff\xe0 no image \xff\xd9')
            answered(tab, 1)
            no_english(tab)
            tab.keyboard.press('1')
            tab.wait_for_selector('.qk-person:not(:empty)')
            no_english(tab)

def test_without_a_camera_a_phone_sends_files(browser, parts):
    "As over http: the browser has no `mediaDevices`"
    no_camera = "Object.defineProperty(Navigator.prototype, 'mediaDevices', {get: () => undefined})"
    with opened(browser, line_page(parts), dict(viewport=dict(width=390, height=844)), before=no_camera) as tab:
        assert 'https' in tab.locator('.qk-alerts').inner_text() and not tab.locator('.qk-take').is_visible()
        assert tab.locator('.qk-file input').get_attribute('capture') == 'environment'
        tab.set_input_files('.qk-file input', str(defect))
        answered(tab, 1)
        assert look(tab) == 'bad'

def test_when_the_program_ends_no_old_answer_stays(browser, parts, tmp_path):
    page = line_page(parts, watch=tmp_path)
    with opened(browser, page) as tab:
        shutil.copy(defect, tmp_path/'a.jpg')
        answered(tab, 1)
        tab.route('**/component_server*/**', lambda r: r.abort())
        tab.route('**/component_server*', lambda r: r.abort())
        tab.wait_for_selector('.qk[data-look=wait]')
        assert tab.locator('.qk-alerts p').count() == 1 and tab.locator('.qk-classes button:enabled').count() == 0
        tab.unroute_all()
        answered(tab, 1)
        assert tab.locator('.qk-alerts p').count() == 0

def test_names_are_shown_as_text(browser, parts, tmp_path):
    from dataclasses import replace
    vocab = ['<img src=x onerror=alert(1)>', '${alert(2)} {{x}}']
    hostile = replace(parts, vocab=vocab)
    vars(hostile).update({k: v for k, v in vars(parts).items() if k.startswith('_')})
    shutil.copy(defect, tmp_path/'a.jpg')
    with opened(browser, line_page(hostile, watch=tmp_path)) as tab:
        answered(tab, 1)
        assert tab.locator('.qk-word').inner_text() == vocab[0]
        assert tab.locator('.qk-classes button').nth(1).inner_text().startswith(vocab[1])

# the command

def test_options_that_do_not_go_together(quickcls, parts, tmp_path):
    for words, named in (
        (['--kiosk'], 'models/pets'), ([parts.path, '--log', 'line.csv'], '--kiosk'), ([parts.path, '--kiosk', '--teach'], '--teach'),
        ([parts.path, '--kiosk', '--watch', tmp_path/'nowhere'], 'nowhere'), ([parts.path, '--kiosk', '--every', '0'], '0.2'),
        ([parts.path, '--kiosk', '--lang', 'xx'], 'xx'), ([parts.path, '--kiosk', '--good', 'wasp'], 'wasp'),
        ([parts.path, '--kiosk', '--log', 'line.csv', '--host', '0.0.0.0'], '--auth name:password')):
        p = quickcls('demo', *words, cwd=tmp_path)
        assert p.returncode == 1 and named in p.stderr and len(p.stderr.splitlines()) == 1, words
    assert list(tmp_path.iterdir()) == []

def test_the_address_in_the_network_is_printed_with_a_code_to_scan(parts, monkeypatch):
    from quickcls.app import address
    class Terminal:
        encoding = 'utf-8'
        def isatty(self): return True
    monkeypatch.setenv('COLUMNS', '80')
    wide = address.for_others('192.0.2.9', 7861, Terminal())
    assert 'http://192.0.2.9:7861' in wide.splitlines()[0] and len(wide.splitlines()) > 12 and '█' in wide
    monkeypatch.setenv('COLUMNS', '25')
    assert len(address.for_others('192.0.2.9', 7861, Terminal()).splitlines()) == 1
    assert address.for_others('127.0.0.1', 7861, Terminal()) == '' and address.for_others('localhost', 7861) == ''
    if (own := address.own_address()): assert f'http://{own}:7861' in address.for_others('0.0.0.0', 7861)
