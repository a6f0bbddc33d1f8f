"The page: right answers, for people in a real browser and for programs, and safe to leave open"
import base64, csv, io, json, re, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from quickcls.all import Classifier, QuickclsError, train
from tests.helpers import as_bytes, bad_files, image, repo, with_orientation, write_folder

httpx = pytest.importorskip('httpx', reason='no gradio')
pytest.importorskip('gradio', reason='no gradio')
from quickcls.app import server
from quickcls.app.predict_page import ask_page, compare_page
from quickcls.app.server import launch
defect = repo/'docs'/'parts'/'defect.jpg'
hostile = '<img src=x onerror=alert(1)>'

@pytest.fixture(scope='module', autouse=True)
def uploads(tmp_path_factory):
    "Where uploads lie"
    path = tmp_path_factory.mktemp('uploads')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('GRADIO_TEMP_DIR', str(path))
        yield path


@pytest.fixture(scope='module')
def parts(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('parts'), packed=True)

@contextmanager
def served(page, **kwargs):
    "The address of a page"
    try: yield launch(page, block=False, quiet=True, **kwargs).rstrip('/')
    finally: page.close(verbose=False)

@pytest.fixture(scope='module')
def url(parts):
    with served(ask_page(parts, examples=repo/'docs'/'parts')) as u: yield u

@contextmanager
def opened(browser, url, **context):
    "A browser on the page: no dialog, no error in the page, no request to anywhere else"
    with browser.new_context(**dict(viewport=dict(width=1280, height=900)) | context) as c:
        page, odd = c.new_page(), []
        page.on('dialog', lambda d: (odd.append(f'dialog {d.message}'), d.dismiss()))
        page.on('pageerror', lambda e: odd.append(f'error {e}'))
        page.on('request', lambda r: None if r.url.startswith(('data:', 'blob:', 'about:', url)) else odd.append(f'request {r.url[:80]}'))
        page.set_default_timeout(60_000) # two cores may be busy with other tests
        page.goto(url)
        page.wait_for_selector('input[type=file]', state='attached')
        yield page
        assert odd == []

def show(page, *files, into='#photo'):
    page.set_input_files(f'{into} input[type=file]', [f if isinstance(f, dict) else str(f) for f in files])


def as_file(data, name='photo.jpg'): return dict(name=name, mimeType='image/jpeg', buffer=data)
def said(page):
    page.wait_for_selector('#answer .qc-verdict')
    return page.locator('#answer').inner_text()


def foreign(): return as_bytes(Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)), quality=95)

# people

def test_an_upload_is_answered_with_the_likeliest_kinds(browser, url, parts):
    with opened(browser, url) as page:
        show(page, defect)
        text = said(page)
        for t in parts.predict(defect).top: assert t['label'] in text and f'{t["probability"]:.1%}' in text
        assert 'None of these' not in text and page.locator('#answer .qc-near img').count() == 3 # packed, so shown
        assert page.locator('#photo img').count() == 0 # the box is empty for the next one

def test_a_foreign_image_is_none_of_these(browser, url, parts):
    with opened(browser, url) as page:
        show(page, as_file(foreign()))
        assert (
            'None of these' in said(page)
            and '%' in page.locator('.qc-bars').inner_text()
            and page.locator('#answer .qc-near img').count() == 3
        )


def test_the_photo_has_its_own_colours_until_the_heat_map_is_asked_for(browser, url):
    "By the keyboard, without asking the server; and the slider stays where it is when the next answer comes"
    with opened(browser, url) as page:
        page.click('#examples button >> nth=0')
        said(page)
        heat, slider, asked = page.locator('#answer .qc-heat'), page.get_by_label('Heat map'), []
        shown = lambda: float(heat.evaluate('i => getComputedStyle(i).opacity'))
        assert shown() == 0 and not page.locator('#answer .qc-mark').first.is_visible()
        assert page.evaluate(
            "(() => { const [a, b] = document.querySelectorAll('#answer .qc-photo img'); return "
            "a.naturalWidth == b.naturalWidth && a.src != b.src })()"
        )
        page.on('request', lambda r: asked.append(r.url))
        slider.focus()
        for _ in range(4): page.keyboard.press('ArrowRight')
        assert shown() == .4 and asked == []
        assert {m.inner_text() for m in page.locator('#answer .qc-mark').all()} <= {'+', '−'} and page.locator('#answer .qc-mark').count()
        src = heat.get_attribute('src')
        page.get_by_role('button', name='Try another image').click()
        page.click('#examples button >> nth=1')
        page.wait_for_function('src => document.querySelector("#answer .qc-heat").src != src', arg=src)
        assert shown() == .4 and slider.input_value() == '40'
        slider.press('Home')
        assert shown() == 0

def test_a_cell_of_the_matrix_shows_its_images(browser, url, parts):
    rows = parts.evaluate().table
    with opened(browser, url) as page:
        page.get_by_role('tab', name='How good is it').click()
        frame = page.frame_locator('iframe.qc-report')
        frame.get_by_role('button', name='actual defect, predicted defect').click()
        right = ((rows.label == 'defect') & (rows.predicted == 'defect')).sum()
        assert (
            frame.locator('#panel img').count() >= min(right, 24) and frame.locator('#panel img').first.evaluate('i => i.naturalWidth') > 50
        )
        page.wait_for_function('document.querySelector("iframe.qc-report").offsetHeight > 2000') # one scroll bar for all of it

def test_without_packed_images_none_is_shown(parts, tmp_path):
    import shutil
    from quickcls.app.predict_page import report_frame
    from quickcls.report.thumbnails import Packed
    bare = shutil.copytree(parts.path, tmp_path/'bare', ignore=shutil.ignore_patterns('pictures.zip'))
    assert 'data:image/jpeg' not in report_frame(bare, Packed(bare)) and 'data:image/jpeg' in report_frame(parts.path, Packed(parts.path))

def test_several_images_make_a_table_to_save(browser, url, parts):
    with opened(browser, url) as page:
        page.get_by_text('Several images at once').click()
        show(
            page,
            as_file(defect.read_bytes(), 'defect.jpg'),
            as_file(b'<html>404</html>', 'page.jpg'),
            as_file(foreign(), 'noise.jpg'),
            into='#files',
        )
        page.wait_for_selector('#table table')
        text = page.locator('#table').inner_text()
        assert 'an HTML page, not an image' in text and 'None of these' in text
        rows_of = page.locator('.qc-summary tbody tr').all()
        counted = {r.locator('th').inner_text().strip(): r.locator('td').first.inner_text() for r in rows_of}
        assert counted == {'defect': '1', 'None of these': '1', 'could not be read': '1'}
        data = page.locator('#table a[download]').get_attribute('href').split(',', 1)[1]
        assert base64.b64decode(data).startswith(b'\xef\xbb\xbf') # so that Excel reads umlauts
        rows = list(csv.DictReader(io.StringIO(base64.b64decode(data).decode('utf-8-sig'))))
        assert (
            [r['path'] for r in rows] == ['defect.jpg', 'page.jpg', 'noise.jpg']
            and float(rows[0]['probability']) == parts.predict(defect).top[0]['probability']
            and rows[2]['unknown'] == 'True'
        )


def test_a_photographed_image_is_answered(browser, url):
    with opened(browser, url, permissions=['camera']) as page:
        page.get_by_role('button', name='Take a photo').click()
        page.wait_for_function("document.querySelector('.qc-camera video').videoWidth > 0") # until the camera has warmed up
        page.wait_for_timeout(1000)
        page.get_by_role('button', name='Take the photo').click()
        said(page)
        assert page.evaluate("document.querySelector('.qc-camera video').srcObject") is None # the camera is off again

def test_a_pasted_image_is_answered(browser, url, parts):
    png = base64.b64encode(as_bytes(Image.open(defect), 'PNG')).decode()
    with opened(browser, url, permissions=['clipboard-read', 'clipboard-write']) as page:
        page.bring_to_front()
        page.evaluate(
            "async png => { const blob = await (await fetch('data:image/png;base64,' + png)).blob(); await "
            "navigator.clipboard.write([new ClipboardItem({'image/png': blob})]) }",
            png,
        )
        for _ in range(5): # a busy browser may not have the clipboard at the first click
            page.get_by_role('button', name='Paste an image').click()
            try:
                page.wait_for_selector('#answer .qc-verdict', timeout=12_000)
                break
            except Exception:
                continue
        assert 'defect' in said(page)

def test_several_kinds_are_looked_for_when_asked(browser, url):
    im = Image.new('RGB', (640, 400), (96, 98, 92))
    for kind, at in (('ok', (50, 150)), ('defect', (390, 60))):
        im.paste(Image.open(sorted((repo / 'datasets' / 'parts' / kind).glob('*.jpg'))[0]).convert('RGB').resize((200, 200)), at)
    with opened(browser, url) as page:
        page.get_by_label('Find several objects').check()
        show(page, as_file(as_bytes(im, 'PNG'), 'two.png'))
        named = page.locator('#answer .qc-several').inner_text()
        assert 'ok ' in named and 'defect ' in named and page.locator('#answer .qc-several img').evaluate('i => i.naturalWidth') == 640

def test_odd_uploads_have_the_words_of_the_command_line(browser, url):
    files = {k: v for k, v in bad_files().items() if k in ('page.jpg', 'empty.jpg', 'bomb.png', 'phone.heic')}
    with opened(browser, url) as page:
        for name, (data, reason) in files.items():
            if not data: continue # a browser's form sends no empty file
            show(page, as_file(data, name))
            page.get_by_text(f'{name}: {reason}').wait_for()

def test_names_are_text_wherever_they_come_from(browser, tmp_path):
    write_folder(tmp_path/'set', **{hostile: 8, '"><b>x': 8})
    clf = train(tmp_path/'set', out=tmp_path/hostile, arch='efficientnet_lite0', folds='0', quiet=True)
    with served(ask_page(clf)) as url, opened(browser, url) as page:
        assert page.locator('h1').inner_text() == hostile
        show(page, as_file(as_bytes(image(1)), f'{hostile}.jpg'))
        text = said(page)
        assert hostile in text and '"><b>x' in text and page.locator('img[src="x"]').count() == 0
        page.get_by_text('Several images at once').click()
        show(page, as_file(as_bytes(image(1)), f'{hostile}.jpg'), as_file(b'no', '<script>alert(2)<\\script>.jpg'), into='#files')
        page.wait_for_selector('#table table')
        assert page.locator('img[src="x"]').count() == 0
        page.get_by_role('tab', name='How good is it').click()
        page.frame_locator('iframe.qc-report').locator('#matrix th[title]').first.wait_for()
        assert page.frame_locator('iframe.qc-report').locator('#matrix th[title]').first.get_attribute('title') in (hostile, '"><b>x')

def test_a_phone_needs_no_sideways_scroll_and_sees_the_answer(browser, url):
    with opened(browser, url, viewport=dict(width=390, height=844), is_mobile=True, has_touch=True) as page:
        wide = lambda: page.evaluate('document.documentElement.scrollWidth') <= 390
        assert wide()
        show(page, defect)
        said(page)
        page.wait_for_timeout(300)
        top = lambda s: page.locator(s).first.bounding_box()['y']
        bottom = lambda s: top(s) + page.locator(s).first.bounding_box()['height']
        assert page.evaluate('scrollY') == 0 and wide()
        assert 0 < top('#answer .qc-verdict') < bottom('#answer .qc-bars') < top('#answer .qc-photo')
        assert bottom('#answer .qc-photo') < top('#next')
        assert bottom('#next') <= 844 and not page.locator('#asking').is_visible()
        page.get_by_role('button', name='Try another image').click()
        assert page.locator('#photo').is_visible() and not page.locator('#answer').is_visible()
        show(page, defect) # the same image once more has an answer once more
        said(page)
        assert not page.locator('#asking').is_visible()
        page.get_by_role('tab', name='How good is it').click()
        page.wait_for_selector('iframe.qc-report')
        assert wide()

def test_two_classifiers_look_at_one_image(browser, parts, tmp_path):
    write_folder(tmp_path/'set', a=8, b=8)
    other = train(tmp_path/'set', out=tmp_path/'other', arch='efficientnet_lite0', folds='0', quiet=True)
    with served(compare_page(parts.path, other.path)) as url, opened(browser, url) as page:
        show(page, defect)
        page.wait_for_selector('#answer-1 .qc-verdict')
        assert 'defect' in page.locator('#answer-0').inner_text() and 'They differ' in page.locator('#agree').inner_text()
        boxes = [page.locator(s).bounding_box() for s in ('#agree', '#answer-0', '#answer-1')]
        assert boxes[0]['y'] < boxes[1]['y'] == boxes[2]['y'] and boxes[1]['x'] < boxes[2]['x'] # side by side
        page.set_viewport_size(dict(width=390, height=844))
        boxes = [page.locator(s).bounding_box() for s in ('#agree', '#answer-0', '#answer-1')]
        assert boxes[0]['y'] < boxes[1]['y'] < boxes[2]['y'] and page.evaluate('document.documentElement.scrollWidth') <= 390
        assert page.locator('#agree tr').count() == 2

# programs

def send(url, data, name='photo.jpg'): return httpx.post(f'{url}/gradio_api/upload', files=dict(files=(name, data)))
def about(path, meta=True): return dict(path=path) | (dict(meta=dict(_type='gradio.FileData')) if meta else {})

def call(url, *args, timeout=60):
    "(event, data) of a call of /predict"
    id = httpx.post(f'{url}/gradio_api/call/predict', json=dict(data=list(args))).json()['event_id']
    text = httpx.get(f'{url}/gradio_api/call/predict/{id}', timeout=timeout).text
    event, data = re.search(r'event: (complete|error)\ndata: (.*)', text).groups()
    return event, json.loads(data)

def question(url, data): return call(url, about(send(url, data).json()[0]))[1][0]

def test_the_examples_of_the_documentation_run(url, parts, python, tmp_path):
    text = (repo/'docs'/'demo.md').read_text()
    (tmp_path/'photo.jpg').write_bytes(defect.read_bytes())
    expected = parts.predict(defect).to_dict() | dict(path=None)
    code, = re.findall(r'```python\n(.*?)```', text, re.S)
    out = subprocess.run(
        [sys.executable, '-c', code.replace('http://127.0.0.1:7860', url)], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert eval(out.strip().splitlines()[-1]) == expected
    shell, = re.findall(r'```sh\n(.*?)```', text, re.S)
    out = subprocess.run(
        ['sh', '-ec', shell.replace('http://127.0.0.1:7860', url)], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(out.split('data: ', 1)[1]) == [expected]

def test_the_answer_is_that_of_the_command_line(url, parts, quickcls):
    cli = json.loads(quickcls('predict', parts.path, defect, '--json').stdout)
    assert question(url, defect.read_bytes()) == cli | dict(path=None)
    turned = as_bytes(Image.open(defect).rotate(90, expand=True), quality=95, exif=with_orientation(6))
    assert question(url, turned)['top'] == parts.predict(turned).top
    for name, (data, reason) in bad_files().items():
        if data: assert question(url, data)['error'] == reason

@pytest.mark.parametrize('path', ['/etc/passwd', '../../etc/passwd', 'file:///etc/passwd', str(repo/'README.md'), '', '.', '\0'])
def test_no_path_of_a_request_is_followed(url, path):
    for meta in (True, False):
        try: event, data = call(url, about(path, meta))
        except httpx.HTTPError: continue
        assert event == 'error' or 'Upload it first' in data[0]['error'], data
    if path: assert httpx.get(f'{url}/gradio_api/file={path.replace(chr(0), "%00")}').status_code in (403, 404)

def test_no_address_is_fetched(url):
    with ThreadPoolExecutor(1) as pool:
        import socket
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            s.listen()
            s.settimeout(3)

            def knocked():
                try:
                    s.accept()
                    return True
                except TimeoutError:
                    return False
            visit = pool.submit(knocked)
            event, data = call(url, about(f'http://127.0.0.1:{s.getsockname()[1]}/a.jpg'))
            assert event == 'error' and 'not fetched' in data['error'] and not visit.result()

def test_uploads_are_bounded_and_deleted(url, uploads, monkeypatch):
    assert send(url, b'x'*(server.most_bytes + 1000)).status_code == 413
    many = [send(url, as_bytes(image(i)), f'{i}.jpg').json()[0] for i in range(3)]
    with ThreadPoolExecutor(6) as pool: answers = list(pool.map(lambda p: call(url, about(p)), many*2)) # two people with the same image
    assert all(event == 'complete' and data[0]['top'] for event, data in answers)
    server.sweep(0)
    assert not any(p for p in map(Path, many) if p.exists())

def test_a_full_queue_says_so(parts, monkeypatch):
    monkeypatch.setattr(server, 'most_waiting', 1)
    monkeypatch.setattr(server, 'at_a_time', 1)
    slow = Classifier.load(parts.path)
    now = slow.answers
    slow.answers = lambda *a: (time.sleep(1.5), now(*a))[1]
    with served(ask_page(slow)) as url, ThreadPoolExecutor(8) as pool:
        paths = [send(url, as_bytes(image(i))).json()[0] for i in range(8)]
        answers = list(pool.map(lambda p: httpx.post(f'{url}/gradio_api/call/predict', json=dict(data=[about(p)])), paths))
        refused = [a for a in answers if a.status_code == 503]
        assert refused and all('waiting already' in a.text for a in refused) and any(a.status_code == 200 for a in answers)

def test_a_password_is_asked_for(parts):
    with served(ask_page(parts), auth=('ann', 'secret')) as url:
        assert (
            send(url, defect.read_bytes()).status_code == 401
            and httpx.post(f'{url}/gradio_api/call/predict', json=dict(data=[None])).status_code == 401
        )
        with httpx.Client() as c:
            assert c.post(f'{url}/login', data=dict(username='ann', password='secret')).status_code == 200
            assert c.post(f'{url}/gradio_api/upload', files=dict(files=('a.jpg', defect.read_bytes()))).status_code == 200

def test_the_thread_that_serves_does_not_decode(parts):
    slow = Classifier.load(parts.path)
    now = slow.prepare
    slow.prepare = lambda source: (time.sleep(4), now(source))[1]
    with served(ask_page(slow)) as url, ThreadPoolExecutor(2) as pool:
        work = [pool.submit(question, url, as_bytes(image(i))) for i in range(2)]
        waits = []
        while not all(w.done() for w in work):
            t = time.perf_counter()
            httpx.get(url, timeout=10)
            waits.append(time.perf_counter() - t)
            time.sleep(0.05)
        assert all(w.result()['top'] for w in work) and len(waits) > 5 and max(waits) < 2

# teaching

def learn(page, word):
    page.fill('#teach input', word)
    page.get_by_role('button', name='Teach').click()

def test_a_correction_changes_the_next_answer_and_undo_brings_it_back(browser, parts, tmp_path):
    from quickcls.model.update import Teacher
    teacher = Teacher.of(parts, tmp_path/'corrections')
    before = parts.predict(defect)
    with served(ask_page(parts, teacher=teacher)) as url, opened(browser, url) as page:
        assert not page.locator('#teach').is_visible() # there is nothing to teach yet
        show(page, defect)
        assert said(page).splitlines()[-1] != 'ok' and f'{before.top[0]["probability"]:.1%}' in said(page)
        page.get_by_role('button', name='Teach').click()
        page.get_by_text('Type or choose a class first').wait_for()
        learn(page, 'ok')
        page.get_by_text('Learned: ok').wait_for()
        assert page.locator('#answer .qc-verdict').inner_text() == 'ok' # the same image, at once
        assert question(url, defect.read_bytes())['top'][0]['label'] == 'ok' # and for everybody
        show(page, as_file(foreign()))
        page.get_by_text('None of these').first.wait_for()
        assert page.locator('#learned').inner_text().strip() == '' # what was said of the last image is gone
        learn(page, f'static {hostile}'.replace('/', ''))
        page.get_by_text('three to five images').wait_for()
        assert page.locator('#answer .qc-verdict').inner_text() == f'static {hostile}' and page.locator('#answer .qc-near img').count() >= 1
        learn(page, 'stat') # the beginning of a name: a slip, or a new kind?
        page.get_by_text('is the beginning of').wait_for()
        learn(page, 'None of these')
        page.get_by_text('is no class').wait_for()
        learn(page, '../../evil')
        page.locator('#learned [role=alert]').wait_for()
        for _ in range(2):
            page.get_by_role('button', name='Undo').click()
            page.get_by_text('Undone').wait_for()
            page.wait_for_timeout(500)
        assert question(url, defect.read_bytes())['top'] == before.top
    assert teacher.rows() == [] and not [p for p in tmp_path.rglob('evil*')]

def test_words_said_to_another_classifier_teach_nothing_here(parts, tmp_path):
    from quickcls.model.update import Teacher
    write_folder(tmp_path/'set', a=8, b=8)
    other = train(tmp_path/'set', out=tmp_path/'other', arch='efficientnet_lite0', folds='0', quiet=True)
    Teacher.of(other, tmp_path/'corrections').teach(as_bytes(image(1)), 'cactus')
    with pytest.raises(QuickclsError, match='other.*parts.*corrections='):
        Teacher.of(parts, tmp_path / 'corrections')


def test_images_to_learn_from_take_a_bounded_room():
    recent = server.RecentImages(100)
    tickets = [recent.put(bytes(30)) for _ in range(5)]
    assert [len(recent.get(t) or b'') for t in tickets] == [0, 0, 30, 30, 30] and recent.get('guess') is None

def test_a_page_that_cannot_be_taught_has_no_way_to_teach(browser, url):
    with opened(browser, url) as page:
        assert page.locator('#teach').count() == 0
    assert list(httpx.get(f'{url}/gradio_api/info').json()['named_endpoints']) == ['/predict'] # programs may ask, and nothing else

# the command

def test_the_command_serves_and_teaching_in_reach_of_others_needs_a_password(parts, quickcls, tmp_path):
    for words in (['--teach', '--host', '0.0.0.0'], ['--teach', '--share']):
        p = quickcls('demo', parts.path, *words, cwd=tmp_path)
        assert p.returncode == 1 and '--auth name:password' in p.stderr and len(p.stderr.splitlines()) == 1
    assert '--auth name:password' in quickcls('demo', '--host', '0.0.0.0', cwd=tmp_path).stderr
    assert str(tmp_path/'nowhere') in quickcls('demo', tmp_path/'nowhere').stderr
    code = 'import sys; from quickcls.cli import main; sys.exit(main())'
    p = subprocess.Popen(
        [sys.executable, '-c', code, 'demo', str(parts.path), '--teach', '--corrections', str(tmp_path / 'c')],
        cwd=repo,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = re.search(r'http://127\.0\.0\.1:\d+', p.stdout.readline())[0]
        assert question(url, defect.read_bytes())['top'] == parts.predict(defect).top
    finally:
        p.terminate()
        p.wait(20)


def test_a_missing_gradio_is_named(python, parts):
    out = python(
        "import sys; sys.modules['gradio'] = None; sys.stderr = sys.stdout\nfrom quickcls.cli import "
        "main\nsys.exit(0 if main(['demo', sys.argv[1]]) == 1 else 5)",
        parts.path,
    )
    assert 'pip install "gradio' in out and len(out.splitlines()) == 1

@pytest.mark.parametrize('name, models', [('ask', 1), ('teach', 1), ('compare', 2)])
def test_each_app_is_short_and_runs(name, models, parts, tmp_path):
    app = repo/'apps'/name/'app.py'
    assert len(app.read_text().splitlines()) <= 20
    words = [parts.path]*models + ([tmp_path/'corrections'] if name == 'teach' else [])
    p = subprocess.Popen(
        [sys.executable, app, *map(str, words)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=__import__('os').environ | {'PYTHONPATH': str(repo)},
    )
    try:
        assert httpx.get(re.search(r'http://127\.0\.0\.1:\d+', p.stdout.readline())[0]).status_code == 200
    finally:
        p.terminate()
        p.wait(20)
