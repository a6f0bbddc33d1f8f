"Images sorted by hand, in the browser and in a notebook: choices that stay, files that move and come back, what it did to the accuracy"
import json, os, re, signal, subprocess, sys, time, urllib.error, urllib.request
import numpy as np
import pytest
from PIL import Image
from quickcls.cleaner.choices import Choices
from quickcls.cleaner.page import clean_in_browser
from quickcls.cleaner.ranking import rank, worst_first
from quickcls.cleaner.retrain import retrain
from quickcls.cleaner.serving import Server
from quickcls.cleaner.session import Session, session_of
from quickcls.core import QuickclsError
from quickcls.data.items import scan_folder
from quickcls.findings.finding import Examined, Finding, kinds
from quickcls.texts import catalogue
from tests.axe import serious_faults
from tests.helpers import image, repo, window

colours = dict(blue=(30, 60, 220), green=(40, 200, 60), red=(220, 40, 30))

def draw(folder, n=20, splits=('',)):
    "`n` images of each colour in the folder of its class, but for one: `red/odd.png` is green"
    rng = np.random.default_rng(0)
    for split in splits:
        for label, colour in colours.items():
            (folder/split/label).mkdir(parents=True)
            for i in range(n): one_of(rng, colour).save(folder/split/label/f'{i:03}.png')
    one_of(rng, colours['green']).save(folder/splits[0]/'red'/'odd.png')
    return folder

def one_of(rng, colour): return Image.fromarray(np.clip(rng.normal(colour, 30, (24, 24, 3)), 0, 255).astype(np.uint8))

def examined(folder):
    "What the doctor hands over, with mean colours for embeddings"
    items = scan_folder(folder)
    x = np.array([np.asarray(Image.open(p).convert('RGB')).mean((0, 1))/255 for p in items.table.path], np.float32)
    return Examined(items, np.concatenate([x, x**2], 1), [])

def page_of(folder, findings=()):
    return clean_in_browser(folder, examined=examined(folder), findings=list(findings), block=False, say=lambda line: None)

def opened(folder, findings=()): return session_of(folder, examined(folder), list(findings))

def files(folder): # path → bytes of all files
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}

@pytest.fixture
def folder(tmp_path): return draw(tmp_path/'colours')

# the order

def test_the_image_that_fits_its_label_least_is_first(folder):
    t = rank(examined(folder)).table
    first = t.iloc[worst_first(t)].iloc[0]
    assert first.key == 'red/odd.png' and first.predicted == 'green' and first.loss > 2 and (t.loss > 1).sum() == 1

def test_copies_are_shown_together_with_the_one_to_keep_first(folder):
    a, b, c = (str(folder/p) for p in ('red/001.png', 'blue/002.png', 'red/odd.png'))
    t = rank(examined(folder), [Finding('near-duplicate', (a, b), '', keep=b), Finding('two-labels', (b, c), '')]).table
    shown = t.iloc[worst_first(t)]
    assert shown.path.tolist()[:2] == [b, c] and shown.path.iloc[2] == a and shown[shown.keep].path.tolist() == [b]

def test_test_images_are_answered_by_what_was_learned_from_training(tmp_path):
    folder = draw(tmp_path/'split', 8, ('train', 'test'))
    (folder/'train'/'red'/'odd.png').rename(folder/'test'/'red'/'odd.png')
    t = rank(examined(folder)).table
    assert {*t.split} == {'train', 'test'} and t.loss.notna().all() and t.loc[t.loss.idxmax(), 'key'] == 'test/red/odd.png'

def test_too_few_images_are_named(tmp_path):
    for c in ('a', 'b'): image(ord(c)).save((tmp_path/c).mkdir() or tmp_path/c/'1.png')
    with pytest.raises(QuickclsError, match='too few images.*2 images'): rank(examined(tmp_path))

# choices

def test_choices_are_kept_but_not_for_a_file_that_was_replaced(folder):
    s = opened(folder)
    s.choose(['red/odd.png'], 'relabel', 'green')
    s.choose(['red/001.png'], 'quarantine')
    image(5, 24, 24).save(folder/'red'/'001.png')
    assert opened(folder).choices.of == {'red/odd.png': s.choices.of['red/odd.png']}

def test_a_move_to_its_own_class_keeps_an_image(folder):
    s = opened(folder)
    s.choose(['red/001.png', 'blue/001.png'], 'relabel', 'red')
    assert [s.choices.of[k]['what'] for k in ('red/001.png', 'blue/001.png')] == ['keep', 'relabel']
    assert [*s.choices.undo()] == ['red/001.png', 'blue/001.png'] and not s.choices.of and not (folder/'.quickcls').exists()

def test_what_is_no_choice_is_refused(folder):
    s = opened(folder)
    for key, *how in (('../x.png', 'keep'), ('red/odd.png', 'delete'), ('red/odd.png', 'relabel', 'purple'), ('red/odd.png', 'relabel')):
        with pytest.raises(QuickclsError): s.choose([key], *how)
    assert not s.choices.of

def test_a_damaged_file_of_choices_is_named(tmp_path):
    for text in ('{', '[]', '{"choices": 3}'):
        (tmp_path/'choices.json').write_text(text)
        with pytest.raises(QuickclsError, match='choices.json is damaged'): Choices(tmp_path/'choices.json')

# the accuracy

def test_both_accuracies_are_of_the_same_images(folder):
    s = opened(folder)
    nothing = s.retrain().train
    assert nothing.n == 61 and nothing.before == nothing.after and nothing.better == nothing.worse == 0
    s.choose(['red/odd.png'], 'relabel', 'green')
    s.choose(['blue/000.png', 'blue/001.png'], 'quarantine')
    r = s.retrain()
    assert (r.train.n, r.relabelled, r.quarantined, r.test) == (59, 1, 2, None) and r.train.after == 1

def test_a_class_whose_images_all_move_is_no_error(folder):
    s = opened(folder)
    s.choose([k for k in s.contents if k.startswith('blue/')], 'quarantine')
    assert s.retrain().train.after == pytest.approx(40/41)
    s.choose([k for k in s.contents if not k.startswith('red/')], 'quarantine')
    assert s.retrain().train.n == 21

def test_retraining_takes_less_than_two_seconds_for_400_images():
    import pandas as pd
    y, rng = np.arange(400) % 2, np.random.default_rng(0)
    x = rng.normal(size=(400, 3584)).astype(np.float32) + (y*.08)[:, None].astype(np.float32)
    t = pd.DataFrame(dict(path=[f'/d/{i}' for i in range(400)], label=np.where(y, 'a', 'b'), sha256=[f'{i:064x}' for i in range(400)]))
    from types import SimpleNamespace
    t = t.assign(group=t.sha256, split=None)
    ranked = rank(Examined(SimpleNamespace(table=t, vocab=['a', 'b'], folder='/d'), x, []))
    choices = {k: dict(what='quarantine', to=None) for k in ranked.table.key[:20]}
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert retrain(ranked, choices).train.n == 380
        times.append(time.perf_counter() - began)
    assert min(times) < 2

# moving and coming back

def test_applied_and_put_back_to_the_last_byte(folder):
    before, s = files(folder), opened(folder)
    s.choose(['red/odd.png'], 'relabel', 'green')
    s.choose(['blue/000.png'], 'quarantine')
    s.choose(['blue/001.png'], 'keep')
    assert (s.apply().moved, s.moved(), len(s.choices)) == (2, 2, 0)
    t = s.ranked.table
    assert 'green/odd.png' in t.key.tolist() and 'blue/000.png' not in t.key.tolist() and t.loss.max() < 1
    assert (folder/'.quickcls'/'quarantine'/'blue'/'000.png').is_file() and s.kept == {s.contents['blue/001.png']}
    assert s.take_back().moved == 2 and s.ranked.table.loc[s.order[0], 'key'] == 'red/odd.png'
    assert {k: v for k, v in files(folder).items() if not k.startswith('.quickcls')} == before

def test_what_was_moved_on_an_earlier_day_comes_back_too(folder):
    s = opened(folder)
    s.choose(['blue/000.png'], 'quarantine')
    s.apply()
    again = Session(folder, rank(examined(folder)), (), lambda: (examined(folder), []))
    assert len(again.ranked.table) == 60 and again.moved() == 1
    again.take_back()
    assert len(again.ranked.table) == 61 and not again.moved()

def test_test_images_are_never_cleaned_together_with_training(tmp_path):
    folder = draw(tmp_path/'split', 8, ('train', 'test'))
    s = opened(folder)
    s.choose(['train/red/odd.png', 'test/blue/000.png'], 'quarantine')
    assert s.counts() == dict(train=dict(keep=0, relabel=0, quarantine=1), test=dict(keep=0, relabel=0, quarantine=1))
    assert s.retrain().test.n == 23
    s.apply()
    assert (folder/'test'/'blue'/'000.png').is_file() and not (folder/'train'/'red'/'odd.png').exists() and len(s.choices) == 1
    s.apply('test')
    assert not (folder/'test'/'blue'/'000.png').exists()

# who may ask

@pytest.fixture
def server(folder):
    s = page_of(folder)
    yield s
    s.close()

def asked(server, path, data=None, **headers):
    headers = {k.replace('_', '-'): v for k, v in headers.items()}
    request = urllib.request.Request(server.address + path, None if data is None else json.dumps(data).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as r: return r.status, r.read()
    except urllib.error.HTTPError as e: return e.code, e.read()

def test_only_the_page_itself_can_act(server, folder):
    choice, word = dict(keys=['red/odd.png'], what='quarantine', generation=server.session.generation), server.word
    others = (dict(Origin='https://example.org'), dict(Origin='null'), dict(Host='example.org'), dict(Sec_Fetch_Site='cross-site'))
    for headers in ({}, dict(X_Quickcls='guess'), *(dict(X_Quickcls=word) | o for o in others)):
        for act in server.acts: assert asked(server, f'/do/{act}', choice, **headers)[0] == 403
    assert not server.session.choices.of and not (folder/'.quickcls').exists()
    assert asked(server, '/do/choose', choice, X_Quickcls=word, Origin=server.address)[0] == 200
    assert b'Load the page again' in asked(server, '/do/apply', dict(generation=-1), X_Quickcls=word)[1]
    assert len(server.session.choices) == 1

def test_another_site_in_the_same_browser_cannot_act(browser, server):
    other = Server({'/': lambda rest: (b'<title>other</title>', 'text/html')}, {})
    other.start()
    send = """async ([url, word]) => { try { const r = await fetch(url + '/do/choose', {method: 'POST', mode: word ? 'cors' : 'no-cors',
        headers: word ? {'X-Quickcls': word} : {}, body: '{"keys": ["red/odd.png"], "what": "quarantine", "generation": 1}'})
        return r.status }
        catch { return 'refused' } }"""
    frame = """url => new Promise(done => { const f = document.createElement('iframe'); f.src = url; document.body.append(f);
        f.onload = () => { try { done(f.contentDocument === null) } catch { done(true) } } })"""
    with browser.new_context(bypass_csp=True) as c:
        tab = c.new_page()
        tab.goto(other.address)
        assert tab.evaluate(send, [server.address, server.word]) == 'refused'
        assert tab.evaluate(send, [server.address, '']) in (0, 'refused')
        tab.evaluate(frame, server.address)
        assert all('quickcls' not in f.content() or f.url == tab.url for f in tab.frames)
    other.close()
    assert not server.session.choices.of

def test_only_images_of_the_folder_are_served(server, folder):
    sha = server.session.contents['red/odd.png']
    assert asked(server, f'/thumb/{sha}')[1][:2] == b'\xff\xd8'
    for path in ('thumb/../../../../etc/passwd', 'thumb/' + '0'*64, 'image/', 'image/red/odd.png', 'cleaner.py', 'do/load'):
        assert asked(server, f'/{path}')[0] == 404, path
    image(9).save(folder/'red'/'odd.png') # another file under the same name
    server.session.thumbnails._kept.clear()
    assert asked(server, f'/image/{sha}')[0] == 404

def test_it_listens_on_this_machine_only(folder, server):
    with pytest.raises(QuickclsError, match='0.0.0.0'): clean_in_browser(folder, host='0.0.0.0')
    with pytest.raises(QuickclsError, match='in use'): page_and_port(folder, server.server_port)
    with pytest.raises(QuickclsError, match='no port'): page_and_port(folder, 70_000)

def page_and_port(folder, port): return clean_in_browser(folder, examined=examined(folder), port=port, block=False)

def test_no_other_program_moves_files_while_the_page_is_open(server, folder):
    "It is told who has the folder; a second page in another program is refused too; afterwards the folder is free"
    before, code = files(folder), 'import sys; from quickcls.cli import main; sys.exit(main(sys.argv[1:]))'
    def other(*words): return subprocess.run([sys.executable, '-c', code, 'doctor', str(folder), *words], capture_output=True, text=True)
    server.session.choose(['red/odd.png'], 'quarantine')
    for words in (['--undo'], ['--ui'], ['--forget']):
        found = other(*words)
        assert found.returncode == 1 and found.stderr.count('\n') == 1
        assert f'quickcls doctor --ui (process {os.getpid()}) is at work in' in found.stderr
    assert server.session.apply().moved == 1 # the page itself may
    server.close()
    assert other('--undo').returncode == 0 and files(folder) == before

def test_ctrl_c_closes_the_page(folder):
    code = f'import sys; from tests.test_cleaner import *; f = {str(folder)!r}; clean_in_browser(f, examined=examined(f))'
    p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repo)
    address = re.search(r'http://\S+', p.stdout.readline())[0]
    with urllib.request.urlopen(address, timeout=30) as r: assert b'quickcls' in r.read()
    p.send_signal(signal.SIGINT)
    assert p.wait(30) == 0 and p.stderr.read() == ''

def test_too_much_is_not_taken(server):
    big = dict(keys=['x'*21_000_000])
    assert asked(server, '/do/choose', big, X_Quickcls=server.word)[0] == 400
    assert asked(server, '/do/load', {}, X_Quickcls=server.word)[0] == 200

# the page

ready = '.qc-tile img[src]'
def at(tab): return tab.get_attribute('.qc-at', 'aria-label')
def choices(tab): return {e.split(', ')[1]: e.split(', ')[-1] for e in tab.eval_on_selector_all(
    '.qc-tile:not([data-what=""])', 'tiles => tiles.map(e => e.getAttribute("aria-label"))')}
def said(tab, text): tab.wait_for_function('text => document.querySelector("header").innerText.includes(text)', arg=text)

def test_by_keyboard(browser, server):
    s = server.session
    with window(browser, server.address, ready) as tab:
        assert at(tab).startswith('red, red/odd.png, looks like green')
        second = [k for k in s.ranked.table.key.iloc[s.order]][1:5]
        tab.keyboard.press('2')
        said(tab, '1 choice')
        assert s.choices.of['red/odd.png']['to'] == 'green' and second[0] in at(tab)
        for key in ('k', 'x'): tab.keyboard.press(key)
        said(tab, '3 choices')
        assert [s.choices.of[k]['what'] for k in second[:2]] == ['keep', 'quarantine']
        tab.keyboard.press('u')
        said(tab, '2 choices')
        assert second[1] in at(tab) and second[1] not in s.choices.of
        for key in ('m', 'b', 'l', 'Enter'): tab.keyboard.press(key)
        said(tab, '3 choices')
        own = s.labels[second[1]]
        assert s.choices.of[second[1]]['what'] == ('keep' if own == 'blue' else 'relabel')
        for key in ('ArrowRight', 'ArrowLeft', 'Shift+ArrowRight', 'Shift+ArrowRight'): tab.keyboard.press(key)
        assert tab.locator('.qc-tile[aria-selected=true]').count() == 3 and tab.inner_text('.qc-about') == '3 images selected'
        tab.keyboard.press('x')
        said(tab, '6 choices')
        tab.keyboard.press('Enter')
        tab.wait_for_function('() => document.querySelector(".qc-large img").naturalWidth > 0')
        tab.keyboard.press('k')
        said(tab, '7 choices')
        assert tab.locator('.qc-large[open]').count() == 1

def test_choices_survive_a_change_of_class_and_a_reload(browser, server):
    with window(browser, server.address, ready) as tab:
        for key in '2x': tab.keyboard.press(key)
        said(tab, '2 choices')
        before = choices(tab)
        assert len(before) == 2 and before['red/odd.png'] == '→ green'
        tab.select_option('.qc-class', label='blue (20)')
        assert tab.get_attribute('.qc-tile', 'aria-setsize') == '20'
        tab.keyboard.press('Escape')
        tab.select_option('.qc-class', '')
        assert choices(tab) == before
        tab.select_option('.qc-show', 'undecided')
        assert tab.get_attribute('.qc-tile', 'aria-setsize') == '59'
        tab.reload()
        tab.wait_for_selector(ready)
        assert choices(tab) == before and '2 choices' in tab.inner_text('.qc-counts')

def test_retrain_apply_and_put_back(browser, server, folder):
    before = files(folder)
    with window(browser, server.address, ready) as tab:
        tab.keyboard.press('2')
        said(tab, '1 choice')
        tab.click('.qc-retrain')
        said(tab, 'Accuracy')
        assert '→ 100.0% on the same 61 images' in tab.inner_text('.qc-said')
        tab.click('.qc-apply')
        assert '1 move to another class' in tab.inner_text('.qc-asked')
        tab.click('.qc-yes button')
        said(tab, '1 moved')
        assert (folder/'green'/'odd.png').is_file() and '0 choices' in tab.inner_text('.qc-counts') and 'odd' not in at(tab)
        tab.click('.qc-back')
        tab.click('.qc-yes button')
        said(tab, 'old place: 1')
        assert at(tab).startswith('red, red/odd.png') and files(folder) == before

def test_a_copy_is_kept_and_the_others_go(browser, folder):
    paths = [str(folder/'red'/f'00{i}.png') for i in range(3)]
    found = [Finding('near-duplicate', tuple(paths), 'one photo, saved three times', keep=paths[1])]
    server = page_of(folder, found)
    with window(browser, server.address, ready) as tab:
        tab.select_option('.qc-show', 'copies')
        assert [t.inner_text() for t in tab.locator('.qc-copy').all()] == ['best copy', 'copy', 'copy']
        assert 'one photo, saved three times' in tab.inner_text('.qc-about')
        tab.keyboard.press('c')
        said(tab, '3 choices')
        assert {k: c['what'] for k, c in server.session.choices.of.items()} == {
            'red/001.png': 'keep', 'red/000.png': 'quarantine', 'red/002.png': 'quarantine'}
        tab.select_option('.qc-show', 'kind:near-duplicate')
        assert tab.locator('.qc-tile').count() == 3
        tab.keyboard.press('u')
        said(tab, '0 choices')
    server.close()

def test_a_program_that_ended_is_named(browser, folder):
    server = page_of(folder)
    with browser.new_context() as c:
        tab = c.new_page()
        tab.goto(server.address)
        tab.wait_for_selector(ready)
        tab.route('**/do/*', lambda r: r.abort())
        tab.keyboard.press('x')
        said(tab, 'does not answer')
        assert '0 choices' in tab.inner_text('.qc-counts')
    server.close()

def test_names_are_shown_as_text(browser, tmp_path):
    folder, name = draw(tmp_path/'<b>odd'), '<img src=x onerror=alert(1)>{{setup}}'
    (folder/'red').rename(folder/name)
    server = page_of(folder)
    with window(browser, server.address, ready) as tab:
        assert tab.inner_text('.qc-at .qc-label') == name and '<b>odd' in tab.inner_text('h1')
        tab.keyboard.press('m')
        assert name in tab.inner_text('.qc-classes')
    server.close()

@pytest.mark.parametrize('width,scheme', [(1280, 'light'), (390, 'dark')])
def test_all_can_use_it(browser, folder, width, scheme):
    "axe finds nothing serious, and nothing is wider than the window"
    paths = [str(folder/'red'/f) for f in ('odd.png', '001.png')]
    server = page_of(folder, [Finding('near-duplicate', tuple(paths), 'the same', keep=paths[0])])
    with window(browser, server.address, ready, viewport=dict(width=width, height=800), color_scheme=scheme) as tab:
        for key in '2kx': tab.keyboard.press(key)
        said(tab, '3 choices')
        tab.click('.qc-retrain')
        said(tab, 'Accuracy')
        assert serious_faults(tab) == []
        assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')
        for opens in ('.qc-to', '.qc-apply'):
            tab.click(opens)
            assert serious_faults(tab) == []
            tab.keyboard.press('Escape')
        tab.keyboard.press('Enter')
        assert serious_faults(tab) == []
    server.close()

def test_the_page_names_every_kind_of_finding():
    own = {k.removeprefix('cleaner.kind_'): v for k, v in catalogue('en').items() if k.startswith('cleaner.kind_')}
    assert own == kinds

def test_in_german(browser, folder):
    odd = [Finding('wrong-label', (str(folder/'red'/'odd.png'),), 'it looks like green')]
    server = clean_in_browser(folder, examined=examined(folder), findings=odd, block=False, say=lambda line: None, lang='de')
    with window(browser, server.address, ready) as tab:
        assert tab.get_attribute('html', 'lang') == 'de' and 'aufräumen' in tab.inner_text('h1')
        assert 'Wahrscheinlich falsche Klasse' in tab.text_content('.qc-show')
        tab.click('.qc-retrain')
        said(tab, 'Trefferquote')
        assert '98,4\xa0%' in tab.inner_text('.qc-said')
    server.close()

def test_5000_images_stay_quick(browser, tmp_path):
    "Opened in less than a second, and only what is seen is loaded"
    rng, folder = np.random.default_rng(0), tmp_path/'many'
    for c in ('a', 'b'): (folder/c).mkdir(parents=True)
    for i in range(5000): Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder/'ab'[i % 2]/f'{i:05}.png')
    items = scan_folder(folder)
    x = rng.normal(size=(5000, 8)).astype(np.float32) + (items.table.label == 'a').to_numpy()[:, None]
    server = clean_in_browser(folder, examined=Examined(items, x.astype(np.float32), []), block=False, say=lambda line: None)
    began = time.perf_counter()
    status, text = asked(server, '/do/load', {}, X_Quickcls=server.word)
    assert time.perf_counter() - began < 1 and len(json.loads(text)['images']) == 5000 and len(text) < 1_500_000
    loaded = []
    with browser.new_context(viewport=dict(width=1280, height=800)) as c:
        tab = c.new_page()
        tab.on('request', lambda r: loaded.append(r.url) if '/thumb/' in r.url else None)
        began = time.perf_counter()
        tab.goto(server.address)
        tab.wait_for_selector(ready)
        opened = time.perf_counter() - began
        tab.keyboard.press('End')
        tab.wait_for_selector('.qc-tile[aria-posinset="5000"] img[src]')
        for _ in range(9): tab.keyboard.press('ArrowLeft')
        tab.wait_for_function('() => [...document.querySelectorAll(".qc-tile img")].every(i => i.src && i.complete)')
        assert opened < 3 and len({*loaded}) < 120 and tab.locator('.qc-tile').count() < 80
        began = time.perf_counter()
        for _ in range(10): tab.keyboard.press('x')
        said(tab, '10 choices')
        assert time.perf_counter() - began < 3
    server.close()

# in a notebook

def test_in_a_notebook_choices_survive_a_change_of_class(folder):
    from quickcls.cleaner.widget import Cleaner
    before, c = files(folder), Cleaner(opened(folder), n=10)
    assert len(c._grid.children) == 10 and len(c.rows()) == 61
    tile = c._grid.children[0]
    assert 'red' in tile.children[1].value and tile.children[0].value[:2] == b'\xff\xd8'
    assert [m.label for m in (tile.children[-1], c._class, c._split)] == ['no choice', 'all classes', 'all splits'] # no menu is empty
    tile.children[-1].value = ('relabel', 'green')
    c._class.value = 'blue'
    c._buttons['next'].click()
    assert len(c.rows()) == 20 and c.start == 10
    c._class.value = ''
    assert c._grid.children[0].children[-1].value == ('relabel', 'green')
    assert c.choices[['label', 'split', 'choice', 'to']].values.tolist() == [['red', 'train', 'relabel', 'green']]
    c._buttons['retrain'].click()
    assert '→ 100.0%' in c._said.value
    c._buttons['apply'].click()
    assert 'moved: 1' in c._said.value and (folder/'green'/'odd.png').is_file() and not len(c.choices)
    c._buttons['undo'].click()
    assert files(folder) == before

def test_a_learner_is_cleaned_by_its_own_answers(folder, monkeypatch):
    from fastai.vision.all import CrossEntropyLossFlat, ImageDataLoaders, Learner, RandomErasing, Resize, aug_transforms, nn
    from quickcls.cleaner import widget
    monkeypatch.setattr(widget, 'examine_items', lambda items: examined(folder))
    tfms = dict(item_tfms=Resize(24), batch_tfms=[*aug_transforms(p_lighting=1, max_lighting=.9), RandomErasing(p=1.)])
    dls = ImageDataLoaders.from_folder(folder, valid_pct=.3, seed=1, bs=8, num_workers=0, **tfms)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    model[2].weight.data = 20*nn.init.eye_(model[2].weight.data.clone())[[2, 1, 0]]
    model[2].bias.data.zero_()
    c = widget.cleaner(Learner(dls, model, loss_func=CrossEntropyLossFlat()))
    t = c.session.ranked.table
    assert t.key[c.rows()[0]] == 'red/odd.png' and (t.loss > 1).sum() == 1 and {*t.split} == {'train', 'valid'} and len(t) == 61
    c.session.choose(['red/odd.png'], 'relabel', 'green')
    assert c.retrain().relabelled == 1 and c.apply().moved == 1
    t = c.session.ranked.table.set_index('key')
    assert len(t) == 61 and t.label['green/odd.png'] == 'green' and t.loss['green/odd.png'] < .1
    c.session.choose(['green/odd.png'], 'quarantine')
    assert c.retrain().train.n == 60 and c.apply().moved == 1 and len(c.session.ranked.table) == 60
    assert c.undo().moved == 2 and c.session.ranked.table.key[c.rows()[0]] == 'red/odd.png'

def test_what_is_no_folder_is_named(tmp_path):
    from quickcls.cleaner.widget import cleaner
    with pytest.raises(QuickclsError, match='There is no folder'): cleaner(tmp_path/'nowhere')
    with pytest.raises(QuickclsError, match='There is no folder'): clean_in_browser(tmp_path/'nowhere')
