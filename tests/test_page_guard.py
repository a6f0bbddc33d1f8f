"A page is asked under its own name and by itself alone; uploads take bounded space; nothing hostile stays"
import json, os, random, re, socket, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
import pytest
from quickcls.core import QuickclsError
from quickcls.app.guard import Names, host_name, names_of_page, split_hosts
from quickcls.app.uploads import UploadBudget
from tests.helpers import as_bytes, image, png_header, repo

httpx = pytest.importorskip('httpx', reason='no gradio')
pytest.importorskip('gradio', reason='no gradio')
from quickcls.app import server
from quickcls.app.server import import_gradio, launch, new_page, read_upload, uploads_only
mb = 1_000_000

@pytest.fixture(scope='module', autouse=True)
def uploads(tmp_path_factory):
    "Where uploads lie"
    path = tmp_path_factory.mktemp('uploads')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('GRADIO_TEMP_DIR', str(path))
        for k in ('QUICKCLS_ALLOW_HOST', 'SPACE_ID', 'SPACE_HOST', 'GRADIO_SERVER_NAME'): m.delenv(k, raising=False)
        yield path

def sizes_page(budget=None):
    "A page that tells how many bytes an upload has, as quick as a page can be"
    gr = import_gradio()
    with new_page('Sizes', budget) as page:
        image, out, go = uploads_only(gr.Image(type='filepath')), gr.JSON(), gr.Button()
        def size(upload):
            try: return dict(size=len(read_upload(upload or {})[0]), error=None)
            except QuickclsError as e: return dict(size=None, error=str(e))
        go.click(size, image, out, preprocess=False, api_name='predict')
    return page

@contextmanager
def served(page, **kwargs):
    "The address of a page"
    try: yield launch(page, block=False, quiet=True, **kwargs).rstrip('/')
    finally: page.close(verbose=False)

@pytest.fixture(scope='module')
def url():
    with served(sizes_page()) as u: yield u

def send(url, data, name='photo.jpg', **kwargs):
    return httpx.post(f'{url}/gradio_api/upload', files=[('files', (name, data))], timeout=60, **kwargs)


def question(url, path):
    id = httpx.post(f'{url}/gradio_api/call/predict', json=dict(data=[dict(path=path, meta=dict(_type='gradio.FileData'))])).json()[
        'event_id'
    ]
    return json.loads(re.search(r'event: complete\ndata: (.*)', httpx.get(f'{url}/gradio_api/call/predict/{id}', timeout=60).text)[1])[0]

def on_disk(folder): return [Path(at)/name for at, _, names in os.walk(folder) for name in names] # uploads go while it looks: no error
def bytes_on_disk(folder):
    found = 0
    for p in on_disk(folder):
        with suppress(FileNotFoundError): found += p.stat().st_size
    return found

# names

routes = [
    ('GET', '/'),
    ('GET', '/config'),
    ('POST', '/gradio_api/upload'),
    ('POST', '/gradio_api/call/predict'),
    ('POST', '/gradio_api/queue/join'),
    ('GET', '/gradio_api/queue/data?session_hash=x'),
    ('GET', '/gradio_api/file=/etc/passwd'),
    ('OPTIONS', '/gradio_api/upload'),
    ('GET', '/gradio_api/info'),
]


@pytest.mark.parametrize('method, path', routes)
def test_a_foreign_name_and_a_foreign_site_are_refused_everywhere(url, method, path):
    port = url.rpartition(':')[2]
    for headers in (
        {'Host': 'evil.example'},
        {'Host': f'127.0.0.1.evil.example:{port}'},
        {'Host': '192.168.1.5'},
        {'Origin': 'http://evil.example'},
        {'Origin': 'null'},
        {'Origin': f'http://evil.example:{port}'},
        {'Origin': 'http://127.0.0.1:3'},
        {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors'},
    ):
        r = httpx.request(method, url + path, headers=headers)
        assert r.status_code == 403 and len(r.text.splitlines()) == 1 and r.text.endswith('.'), (headers, r)

def test_its_own_names_and_a_link_from_elsewhere_are_answered(url):
    port = url.rpartition(':')[2]
    for host in (f'127.0.0.1:{port}', f'localhost:{port}', f'[::1]:{port}', 'LOCALHOST:9000'):
        for headers in ({}, {'Origin': f'http://{host}'}, {'Sec-Fetch-Site': 'same-origin'}):
            assert httpx.get(f'{url}/config', headers={'Host': host} | headers).status_code == 200
    assert (
        httpx.get(url, headers={'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document'}).status_code
        == 200
    )
    path = send(url, b'abc', headers={'Origin': url}).json()[0]
    assert question(url, path) == dict(size=3, error=None)

def test_a_page_that_is_launched_by_itself_is_guarded_too():
    page = sizes_page()
    try:
        url = page.launch(prevent_thread_lock=True, quiet=True)[1]
        assert httpx.get(url).status_code == 200 and httpx.get(url, headers={'Host': 'evil.example'}).status_code == 403
    finally: page.close(verbose=False)

def test_on_a_network_addresses_and_named_hosts_are_answered(monkeypatch):
    monkeypatch.setenv('QUICKCLS_ALLOW_HOST', 'from.example')
    with served(sizes_page(), host='0.0.0.0', allow_host='pets.example,*.wide.example') as url:
        ask = lambda host, **more: httpx.get(f'{url}/config', headers={'Host': host} | more).status_code
        assert [
            ask(h)
            for h in (
                '192.168.1.5:7860',
                '[2001:db8::1]',
                socket.gethostname(),
                'localhost',
                'pets.example',
                'a.wide.example',
                'from.example',
            )
        ] == [200] * 7
        assert [ask(h) for h in ('evil.example', 'xpets.example', 'wide.example.evil', 'evil.wide.example.com', '')] == [403]*5
        assert ask('127.0.0.1:7860', Origin='https://pets.example') == 200 and ask('127.0.0.1:7860', Origin='https://evil.example') == 403

@pytest.mark.parametrize(
    'header, name',
    [
        ('localhost:7860', 'localhost'),
        ('[::1]:7860', '::1'),
        ('Pets.Example.', 'pets.example'),
        ('localhost@evil.example', ''),
        ('a b', ''),
        ('localhost:7860:1', ''),
        ('', ''),
    ],
)
def test_a_host_header_is_read_strictly(header, name): assert host_name(header) == name

def test_a_space_a_public_link_and_a_star(monkeypatch):
    share = names_of_page(share=True)
    assert (
        share.has_host('0a1b.gradio.live')
        and share.has_origin('https://0a1b.gradio.live', '0a1b.gradio.live')
        and not share.has_host('evil.example')
    )
    monkeypatch.setenv('SPACE_ID', 'ann/pets')
    monkeypatch.setenv('SPACE_HOST', 'ann-pets.hf.space,pets.example')
    space = names_of_page('0.0.0.0')
    assert space.has_host('ann-pets.hf.space') and space.has_host('10.1.2.3') and space.has_host('inner.name')
    assert all(
        space.has_origin(o, 'inner.name') for o in ('https://huggingface.co', 'https://ann-pets.hf.space', 'https://pets.example')
    ) and not space.has_origin('https://evil.example', 'inner.name')
    monkeypatch.delenv('SPACE_ID')
    monkeypatch.delenv('SPACE_HOST')
    assert Names(allow=split_hosts('*')).has_host('evil.example') and Names(allow=['*']).has_origin('https://evil.example', 'a')
    for wrong in ('http://pets.example', 'a/b', '*x'):
        with pytest.raises(QuickclsError, match='is not a host name'): split_hosts(wrong)

# uploads

def test_many_uploads_take_a_bounded_room_and_others_are_still_answered(uploads):
    budget = UploadBudget(most=200*mb, forgotten_after=6)
    with served(sizes_page(budget)) as url:
        for i in range(12): assert send(url, os.urandom(8) + bytes(29*mb - 8), f'{i}.jpg').status_code == 200
        assert 0 < bytes_on_disk(uploads) <= 100*mb # one visitor has half of it
        assert bytes_on_disk(budget.folder) == budget.all_bytes
        path = send(url, as_bytes(image(1))).json()[0]
        assert question(url, path)['error'] is None
        t = time.time()
        while on_disk(uploads) and time.time() < t + 60:
            time.sleep(0.5)
            server.sweep(0)
        assert not on_disk(uploads) and budget.all_bytes == budget.all_files == 0

def test_what_waits_for_its_answer_stays(tmp_path):
    budget = UploadBudget(most=100)
    budget.open(tmp_path)
    def upload(name, size):
        coming = budget.begin('ann')
        try:
            budget.grow(coming, size, 1)
            (budget.folder/name).write_bytes(bytes(size))
        finally: budget.end(coming, [budget.folder/name])

    upload('a', 30)
    budget.ask(budget.folder / 'a')
    for n in 'bcd': upload(n, 20)
    assert {p.name for p in on_disk(tmp_path)} == {'a', 'd'}
    with pytest.raises(QuickclsError): upload('e', 40)
    budget.answer(budget.folder / 'a')
    upload('e', 40)
    assert {p.name for p in on_disk(tmp_path)} == {'e'} and budget.all_bytes == 40

def test_a_visitor_has_a_rate(url, monkeypatch):
    from quickcls.app import uploads as module
    monkeypatch.setattr(module, 'most_uploads', 5)
    with served(sizes_page()) as u:
        answers = [send(u, b'x') for _ in range(7)]
        assert [a.status_code for a in answers] == [200]*5 + [429]*2 and 'wait a minute' in answers[-1].text

def raw(url, head, *chunks, wait=0):
    "Send bytes as they are; what came back"
    with socket.create_connection(('127.0.0.1', int(url.rpartition(':')[2])), 30) as s:
        s.sendall(
            (
                f'POST /gradio_api/upload HTTP/1.1\r\nHost: {url[7:]}\r\nContent-Type: multipart/form-data; '
                f'boundary=x\r\nConnection: close\r\n{head}\r\n\r\n'
            ).encode()
        )
        for c in chunks:
            try: s.sendall(c)
            except OSError: break
        if wait is None: return b''
        try: return b''.join(iter(lambda: s.recv(65536), b''))
        except OSError: return b''

part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'

def chunked(*parts): return [b'%x\r\n%s\r\n' % (len(p), p) for p in parts] + [b'0\r\n\r\n']

def test_an_upload_without_or_with_a_false_length_is_bounded(uploads, url):
    before = len(on_disk(uploads))
    assert b'413' in raw(url, 'Transfer-Encoding: chunked', *chunked(part, *[bytes(mb)]*31, b'\r\n--x--\r\n'))[:20]
    assert b'200' in raw(url, 'Transfer-Encoding: chunked', *chunked(part, bytes(100), b'\r\n--x--\r\n'))[:20]
    for head, chunks in ((f'Content-Length: {50 * mb}', [part, bytes(mb)]), ('Transfer-Encoding: chunked', chunked(part, bytes(mb))[:-1])):
        raw(url, head, *chunks, wait=None)  # broken off
    field = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n'
    other = b'--x\r\nContent-Disposition: form-data; name="other"; filename="a.jpg"\r\n\r\n'
    for first in (
        field,
        other,
        b'--x\r\n' + b'A: ' + b'b' * 100_000 + b'\r\n',
        b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\n',
        b'no form',
    ):
        assert b'400' in raw(url, 'Transfer-Encoding: chunked', *chunked(first, bytes(1000), b'\r\n--x--\r\n'))[:20], first[:80]
    many = b''.join(part + b'a\r\n' for _ in range(2500)) + b'--x--\r\n'
    assert re.match(rb'HTTP/1.1 4(00|13)', raw(url, f'Content-Length: {len(many)}', many))
    t = time.time()
    while len(on_disk(uploads)) > before + 1 and time.time() < t + 20: time.sleep(.2)
    assert len(on_disk(uploads)) <= before + 1 # of all these, the one that was whole

def test_a_slow_upload_is_cut_off(uploads, monkeypatch):
    from quickcls.app import upload_limits

    monkeypatch.setattr(upload_limits, 'patience', 1)
    monkeypatch.setattr(upload_limits, 'thrown_away', 1)
    budget = UploadBudget()
    with served(sizes_page(budget)) as url:
        assert b'408' in raw(url, f'Content-Length: {mb}', part, bytes(10))[:20]
        assert not budget.coming and not on_disk(budget.folder) and not budget.all_bytes

def test_a_long_question_is_not_read(url):
    r = httpx.post(
        f'{url}/gradio_api/call/predict', content=b'{"data": ["' + b'a' * 6 * mb + b'"]}', headers={'Content-Type': 'application/json'}
    )
    assert r.status_code == 413 and 'MB' in r.text

# attack

def hostile(rng):
    "A request that means harm, as arguments of httpx"
    photo = as_bytes(image(1))
    data = rng.choice([
        b'<html><script>alert(1)</script>',
        photo[: len(photo) // 2],
        png_header(30_000, 30_000),
        b'',
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        rng.randbytes(5000),
    ])
    name = rng.choice([
        'photo.jpg',
        '../../x',
        '/etc/passwd',
        '\u202egpj.exe',
        'a' * 100_000,
        '<img src=x>',
        '.',
        'a\x00b',
        'CON',
        '=1+1.jpg',
    ])
    return data, name

@pytest.fixture(scope='module')
def attacked(drawn, tmp_path_factory):
    "(url, process) of a page with a classifier, in a process of its own"
    clf = drawn(tmp_path_factory.mktemp('parts'))
    code = 'import sys; from quickcls.cli import main; sys.exit(main())'
    p = subprocess.Popen(
        [sys.executable, '-c', code, 'demo', str(clf.path)],
        cwd=repo,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {'PYTHONPATH': str(repo)},
    )
    try:
        yield re.search(r'http://127\.0\.0\.1:\d+', p.stdout.readline())[0], p
    finally:
        p.terminate()
        p.wait(20)


def test_after_200_hostile_requests_an_ordinary_one_is_answered(attacked, uploads):
    psutil = pytest.importorskip('psutil')
    url, process = attacked
    photo = (repo/'docs'/'parts'/'defect.jpg').read_bytes()
    rng = random.Random(7)
    config = httpx.get(f'{url}/config').json()
    functions = [d['id'] for d in config['dependencies']]
    wrong = [
        None,
        5,
        'text',
        [],
        {},
        [[[]]],
        {'path': 5},
        {'path': None, 'meta': {'_type': 'gradio.FileData'}},
        {'path': '../../etc/passwd', 'meta': {'_type': 'gradio.FileData'}},
        {'path': 'a' * 100_000},
        True,
    ]

    def attack(i):
        try:
            if i % 3 == 0:
                data, name = hostile(rng)
                r = httpx.post(
                    f'{url}/gradio_api/upload',
                    files=[(rng.choice(['files', 'files', 'files', 'file', 'x' * 1000]), (name, data))],
                    timeout=60,
                )
                if r.status_code == 200 and i % 2: question(url, r.json()[0])
            elif i % 3 == 1:
                httpx.post(
                    f'{url}/gradio_api/call/predict',
                    json=rng.choice([dict(data=[rng.choice(wrong)]), dict(data=5), [], 5, dict(data=[None] * 1000)]),
                    timeout=60,
                )
            else:
                httpx.post(
                    f'{url}/gradio_api/queue/join',
                    json=dict(
                        fn_index=rng.choice([*functions, -1, 10**6, 'x']),
                        data=[rng.choice(wrong) for _ in range(rng.randrange(4))],
                        session_hash=f's{i}',
                    ),
                    timeout=60,
                )
        except (httpx.HTTPError, TypeError, AttributeError):
            pass
    def ordinary(): return question(url, send(url, photo).json()[0])['top']
    first = ordinary()
    with ThreadPoolExecutor(4) as pool: list(pool.map(attack, range(60))) # warm: what is loaded once is no leak
    memory = psutil.Process(process.pid).memory_info().rss
    with ThreadPoolExecutor(4) as pool: list(pool.map(attack, range(200)))
    assert ordinary() == first
    assert psutil.Process(process.pid).memory_info().rss < memory + 150*mb
    assert len(on_disk(uploads)) <= 200 and bytes_on_disk(uploads) < 2*mb and process.poll() is None
