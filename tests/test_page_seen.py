"What a visitor sees and does on the page that predicts: without a mouse, without colours, with calls that nobody expects"
import json, re, socket, tempfile
import numpy as np, pytest
from PIL import Image
from tests.axe import serious_faults
from tests.helpers import as_bytes, image, repo

httpx = pytest.importorskip('httpx', reason='no gradio')
pytest.importorskip('gradio', reason='no gradio')
from quickcls.all import Classifier, QuickclsError
from quickcls.app.predict_page import ask_page, compare_page
from quickcls.app.server import check_address
from quickcls.asking.examples import find_examples
from quickcls.data.images import file_bytes
from quickcls.evaluate.predictions import held_out
from quickcls.model.update import Teacher
from quickcls.report.record import read_facts
from quickcls.report.thumbnails import Packed
from tests.test_cli import refused
from tests.test_demo import as_file, defect, foreign, opened, said, served, show
phone = dict(viewport=dict(width=390, height=844), is_mobile=True, has_touch=True)

@pytest.fixture(scope='module', autouse=True)
def uploads(tmp_path_factory):
    "Where uploads lie"
    with pytest.MonkeyPatch.context() as m:
        m.setenv('GRADIO_TEMP_DIR', str(tmp_path_factory.mktemp('uploads')))
        yield

@pytest.fixture(scope='module')
def bare(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('bare'))

@pytest.fixture(scope='module')
def packed(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('packed'), packed=True)

@pytest.fixture(scope='module')
def url(bare):
    with served(ask_page(bare)) as u: yield u

@pytest.fixture(scope='module')
def taught(packed, tmp_path_factory):
    "The address of a page that can be taught"
    with served(ask_page(packed, teacher=Teacher.of(packed, tmp_path_factory.mktemp('c')/'corrections'))) as u: yield u

# before an image

def test_an_empty_page_shows_what_it_tells_apart(browser, url, bare):
    with opened(browser, url, **phone) as page:
        assert page.locator('.qc-chips li').all_inner_texts() == bare.vocab
        assert page.locator('#examples').bounding_box()['y'] < 844 and page.locator('#next').is_hidden()

def test_examples_are_held_out_images_of_each_class(browser, packed):
    thumbnails = Packed(packed.path)
    found = find_examples(packed, packed=thumbnails)
    held = {file_bytes(im, 'JPEG', quality=90) for p in held_out(read_facts(packed.path).table).path if (im := thumbnails.get(p))}
    assert {e.label for e in found} == {'defect', 'ok'} and len(found) <= 8 and {e.source for e in found} <= held
    assert all(packed.predict(e.source).answer == e.label for e in found)
    with served(ask_page(packed)) as u, opened(browser, u) as page:
        page.get_by_role('button', name='ok').first.click()
        assert said(page).splitlines()[0] == 'ok'

def test_a_folder_of_classes_gives_examples_of_each(bare, tmp_path):
    found = find_examples(bare, repo/'datasets'/'parts')
    assert {e.label for e in found} == {'defect', 'ok'}
    (tmp_path/'note.txt').write_text('no image')
    for folder in (tmp_path, tmp_path/'none'):
        with pytest.raises(QuickclsError, match='examples'): find_examples(bare, folder)

# errors and what is not shown

def test_an_error_goes_with_the_next_image(browser, url):
    with opened(browser, url, **phone) as page:
        show(page, as_file(b'<html>404</html>', 'page.jpg'))
        page.get_by_text('an HTML page, not an image').wait_for()
        box = page.locator('#answer .qc-error').bounding_box()
        assert box['y'] + box['height'] < 844 and page.locator('#photo').is_visible() # seen without scrolling, and the next can be chosen
        show(page, defect)
        said(page)
        assert page.locator('.qc-error').count() == 0

def test_no_path_of_a_training_image_is_shown(browser, url):
    with opened(browser, url) as page:
        show(page, as_file(foreign()))
        assert 'None of these' in said(page)
        assert not re.search(r'\.jpg|defect/|ok/', page.locator('#answer').inner_text())

def test_a_decision_is_the_headline(browser, bare, tmp_path):
    import shutil
    folder = shutil.copytree(bare.path, tmp_path/'decided')
    about = json.loads((folder/'classifier.json').read_text())
    about['decision'] = dict(thresholds=dict(defect=.999999, ok=.999999), aim=dict(kind='thresholds', positive='defect'), measured={})
    (folder/'classifier.json').write_text(json.dumps(about))
    assert Classifier.load(folder).predict(defect).decision == 'look_at_it'
    with served(ask_page(folder)) as u, opened(browser, u) as page:
        show(page, defect)
        said(page)
        assert page.locator('#answer .qc-verdict').inner_text() == 'Look at it'
        assert page.locator('#answer .qc-verdict .qc-is-look').count() == 1
        assert 'defect' in page.locator('#answer .qc-sure').inner_text()

# everybody

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_no_serious_fault_of_accessibility(browser, taught, scheme):
    with opened(browser, taught, color_scheme=scheme, **phone) as page:
        page.wait_for_timeout(500)
        assert serious_faults(page) == []
        show(page, as_file(b'no image', 'page.jpg'))
        page.locator('#answer .qc-error').wait_for()
        assert serious_faults(page) == []
        show(page, defect)
        said(page)
        page.locator('.qc-blend').press('End')
        assert serious_faults(page) == []
        page.get_by_role('button', name='Teach').click()
        page.locator('#learned .qc-error').wait_for()
        page.get_by_text('Several images at once').click()
        page.locator('#files input').wait_for(state='attached')
        show(page, as_file(defect.read_bytes()), as_file(foreign(), 'noise.jpg'), into='#files')
        page.wait_for_selector('#table table')
        assert serious_faults(page) == []
        page.get_by_role('tab', name='How good is it').click()
        page.wait_for_selector('iframe.qc-report')
        assert serious_faults(page, '.qc-head') == [] and serious_faults(page, '[role=tablist]') == []

def focus_on(page, name, most=40):
    "Press Tab until an element of that name has the focus"
    for _ in range(most):
        page.keyboard.press('Tab')
        here = page.evaluate("(e => `${e.ariaLabel || e.innerText || e.labels?.[0]?.innerText} ${e.tagName}`)(document.activeElement)")
        if name in here: return
    raise AssertionError(f'the keyboard does not reach {name!r}; last: {here!r}')

def test_the_keyboard_is_enough(browser, taught):
    with opened(browser, taught) as page:
        asked = []
        page.on('filechooser', lambda f: asked.append(f))
        page.wait_for_timeout(500)
        focus_on(page, 'to upload BUTTON')
        for _ in range(20): # until Gradio's own box listens
            if asked: break
            page.keyboard.press('Enter')
            page.wait_for_timeout(500)
        asked[0].set_files(defect)
        said(page)
        page.wait_for_timeout(300)
        assert page.evaluate('document.activeElement.innerText') == 'Try another image' # what had the focus is folded away
        focus_on(page, 'How good is it BUTTON')
        focus_on(page, 'Correct class')
        page.keyboard.type('ok')
        page.keyboard.press('Enter')
        focus_on(page, 'Teach')
        page.keyboard.press('Enter')
        page.get_by_text('Learned: ok').wait_for()
        focus_on(page, 'Undo')
        page.keyboard.press('Enter')
        page.get_by_text('Undone: ok').wait_for()
        page.get_by_role('tab', name='Ask').focus()
        page.keyboard.press('Tab')
        page.keyboard.press('Enter')
        page.wait_for_selector('iframe.qc-report')

def test_buttons_have_words(browser, taught):
    with opened(browser, taught) as page:
        page.wait_for_timeout(500)
        for answered in (False, True):
            if answered:
                show(page, defect)
                said(page)
            wordless = page.evaluate("""[...document.querySelectorAll('button, [role=button]')].filter(b => b.offsetParent
                && b.checkVisibility() && !/\\w{2}/.test(b.innerText)).map(b => b.outerHTML.slice(0, 200))""")
            assert wordless == []

def test_an_image_may_be_dropped_anywhere_even_beside_an_answer(browser, url):
    drop = """async ([files]) => { const all = new DataTransfer()
        for (const [name, data] of files) all.items.add(new File([await (await fetch(data)).blob()], name, {type: 'image/jpeg'}))
        document.querySelector('h1').dispatchEvent(new DragEvent('drop', {dataTransfer: all, bubbles: true, cancelable: true})) }"""
    import base64
    uri = 'data:image/jpeg;base64,' + base64.b64encode(defect.read_bytes()).decode()
    with opened(browser, url) as page:
        page.wait_for_timeout(500)
        page.evaluate(drop, [[['a.jpg', uri]]])
        said(page)
        page.evaluate(drop, [[['a.jpg', uri], ['b.jpg', uri]]])
        page.wait_for_selector('#table table')
        assert page.locator('#table tbody >> nth=1').locator('tr').count() == 2

# several classifiers

def test_three_classifiers_agree_or_not_first(browser, bare, packed):
    with served(compare_page(bare.path, packed.path, bare.path)) as u, opened(browser, u) as page:
        show(page, defect)
        page.wait_for_selector('#answer-2 .qc-verdict')
        assert page.locator('#agree .qc-verdict').inner_text() == 'All 3 answer defect'
        names = page.locator('#agree th').all_inner_texts()
        assert len(set(names)) == 3 and all('parts' in n for n in names)
        ys = [page.locator(f'#answer-{i}').bounding_box()['y'] for i in range(3)]
        assert page.locator('#agree').bounding_box()['y'] < ys[0] == ys[1] == ys[2]
        show(page, as_file(b'no image', 'page.jpg'))
        page.locator('#agree .qc-error').wait_for()
        assert page.locator('#answers .qc-verdict').count() == 0
    with pytest.raises(QuickclsError): compare_page(bare.path)

# programs

odd = [None, [], {}, 7, True, '', 'x'*10_000, [[None]], {'path': None}, {'path': ['a']}, {'path': '/etc/passwd'}, [{'path': 3}],
       {'index': 'a'}]

def press(url, number, data, event=None):
    "Call an event of a page, as its browser would; the last message of the server"
    with httpx.Client(base_url=f'{url}/gradio_api', timeout=30) as c:
        asked = c.post('/queue/join', json=dict(fn_index=number, data=data, session_hash='odd', event_data=event))
        if asked.status_code != 200: return asked.text
        with c.stream('GET', '/queue/data?session_hash=odd') as events:
            return next((l for l in events.iter_lines() if 'process_completed' in l or 'unexpected_error' in l), '')

def test_odd_calls_get_an_answer_and_do_nothing(taught, capfd):
    "Each event of the page, with each odd value for each input: no Python error of quickcls, and no class is learned"
    config = httpx.get(f'{taught}/config').json()
    for d in config['dependencies']:
        for value in odd:
            for event in (None, value):
                text = press(taught, d['id'], [value]*len(d['inputs']), event)
                assert 'NoneType' not in text and 'Learned' not in text, (d['id'], value, text)
    err = capfd.readouterr().err
    assert not [block for block in err.split('Traceback')[1:] if re.findall(r'File "([^"]+)"', block)[-1:] and 'quickcls/' in
                re.findall(r'File "([^"]+)"', block)[-1] and 'QuickclsError' not in block], err[-3000:]

# the command

@pytest.mark.parametrize('words, parts', [
    (['--space', 'out'], ['--space']),
    (['MODEL', '--teach', '--space', 'out'], ['--teach', '--space']),
    (['MODEL', '--share', '--space', 'out'], ['--share', '--space']),
    (['MODEL', '--port', '99999'], ['--port', '65535']),
    (['MODEL', '--port', '0'], ['--port', '65535']),
    (['MODEL', '--host', '203.0.113.7'], ['--host', '203.0.113.7']),
    (['MODEL', '--host', 'no such host'], ['--host']),
    (['MODEL', '--examples', 'empty'], ['--examples', 'empty']),
    (['MODEL', '--examples', 'nowhere'], ['--examples', 'nowhere']),
    (['MODEL', '--corrections', 'c'], ['--corrections', '--teach']),
    (['MODEL', '--force'], ['--force', '--space']),
    (['MODEL', '--arch', 'resnet34'], ['--arch']),
    (['MODEL', 'MODEL', '--teach'], ['--teach', '2 were given']),
    (['MODEL', 'MODEL', '--space', 'out'], ['--space', '2 were given']),
    (['photo.jpg'], ['photo.jpg', 'quickcls train']),
    (['MODEL', 'photo.jpg'], ['photo.jpg']),
])
def test_wrong_calls_get_a_sentence_that_names_the_option(quickcls, bare, tmp_path, words, parts):
    (tmp_path/'empty').mkdir()
    (tmp_path/'photo.jpg').write_bytes(as_bytes(image(1)))
    refused(quickcls('demo', *[bare.path if w == 'MODEL' else w for w in words], cwd=tmp_path), *parts)
    assert {p.name for p in tmp_path.iterdir()} == {'empty', 'photo.jpg'}

def test_a_port_in_use_is_told_before_the_work(quickcls, tmp_path):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        port = s.getsockname()[1]
        refused(quickcls('demo', '--port', port, cwd=tmp_path), f'--port {port}')
    check_address('127.0.0.1', port) # and free again
    check_address('::1' if socket.has_ipv6 else None)
    check_address('0.0.0.0', port)
