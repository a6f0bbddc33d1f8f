"Archives and lists of addresses: what is fetched and unpacked is bounded, checked, complete or not there"
import bz2, gzip, hashlib, http.server, io, lzma, os, re, stat, tarfile, threading, time, zipfile
from pathlib import Path
import pytest
from quickcls.core import QuickclsError
from quickcls.sources import archive, download as downloading
from quickcls.sources.archive import unpacked
from quickcls.sources.download import NotYet, Refused, addresses_in, download, fetch
from quickcls.sources.read import read_items, source_name
from tests.helpers import as_bytes, image

pytestmark = pytest.mark.usefixtures('own_cache')

pictures = {f'{c}/{i}.jpg': as_bytes(image((ord(c[0]), i), 24, 24)) for c in ('cat', 'dog') for i in range(2)}

def packed(path, files, top='pets'):
    "A zip or tar with these files"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
            for name, data in files.items(): z.writestr(f'{top}/{name}' if top else name, data)
        return path
    mode = 'w:' + (path.suffix[1:].removeprefix('t') if path.suffix in ('.gz', '.bz2', '.xz', '.tgz') else '')
    with tarfile.open(path, mode) as t:
        for name, data in files.items():
            member = tarfile.TarInfo(f'{top}/{name}' if top else name)
            member.size = len(data)
            t.addfile(member, io.BytesIO(data))
    return path

# --- good ones

@pytest.mark.parametrize('top', ['pets', '', 'a/b/pets'])
@pytest.mark.parametrize('name', ['p.zip', 'p.tar', 'p.tar.gz', 'p.tgz', 'p.tar.bz2', 'p.tar.xz'])
def test_archives_are_read(name, top, tmp_path):
    "Single folders at the top are entered; what a Mac leaves is passed over; it is unpacked once"
    path = packed(tmp_path/name, pictures, top)
    if name == 'p.zip':
        with zipfile.ZipFile(path, 'a') as z: z.writestr('__MACOSX/pets/cat/._0.jpg', b'left by a system')
    items = read_items(path)
    assert items.table.label.value_counts().to_dict() == dict(cat=2, dog=2) and not items.skipped
    assert Path(items.folder).name == ('pets' if top else 'p') and source_name(str(path)) == 'p'
    first = Path(items.table.path[0])
    first.touch()
    then = first.stat().st_mtime_ns
    read_items(path.rename(tmp_path/f'other-{name}'))
    assert first.stat().st_mtime_ns == then

def test_a_checksum(tmp_path):
    path = packed(tmp_path/'p.zip', pictures)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(read_items(path, checksum=f'sha256:{right.upper()}')) == 4
    with pytest.raises(QuickclsError, match='another file, or damaged'): read_items(path, checksum='0'*64)
    with pytest.raises(QuickclsError, match='Expected sha256: and 64 hex digits'): read_items(path, checksum='md5:abc')

# --- bad ones

def zipped_link(path):
    with zipfile.ZipFile(path, 'a') as z:
        link = zipfile.ZipInfo('pets/cat/link.jpg')
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(link, '/etc/passwd')

def tarred_links(path):
    with tarfile.open(path, 'a') as t:
        for kind, name in ((tarfile.SYMTYPE, 'soft'), (tarfile.LNKTYPE, 'hard'), (tarfile.CHRTYPE, 'device'), (tarfile.FIFOTYPE, 'pipe')):
            member = tarfile.TarInfo(f'pets/cat/{name}.jpg')
            member.type, member.linkname = kind, '/etc/passwd'
            t.addfile(member)
        through = tarfile.TarInfo('pets/out')
        through.type, through.linkname = tarfile.SYMTYPE, '/tmp'
        t.addfile(through)

@pytest.mark.parametrize('name, add', [('p.zip', zipped_link), ('p.tar', tarred_links)])
def test_links_and_devices_are_left_out(name, add, tmp_path):
    path = packed(tmp_path/name, pictures)
    add(path)
    folder = unpacked(path)
    assert len(read_items(path)) == 4 and all(stat.S_ISREG(p.lstat().st_mode) for p in folder.rglob('*') if not p.is_dir())

@pytest.mark.parametrize('kind', ['.zip', '.tar'])
@pytest.mark.parametrize('name', ['../out.jpg', 'a/../../out.jpg', '/out.jpg', '..\\out.jpg', 'C:\\out.jpg', '\\\\host\\out.jpg'])
def test_members_that_lead_out(name, kind, tmp_path, own_cache):
    "The archive is refused, and nothing of it stays"
    path = packed(tmp_path/f'p{kind}', pictures | {name: b'x'}, top='')
    with pytest.raises(QuickclsError, match='was not unpacked. A member is named .*out.jpg.*, which leads out'): unpacked(path)
    assert not list(tmp_path.rglob('out.jpg')) and not list(own_cache.rglob('*.jpg'))

def test_links_that_a_later_member_goes_through(tmp_path):
    "A link to elsewhere is not made, so a member below it stays inside"
    path = tmp_path/'p.tar'
    with tarfile.open(path, 'w') as t:
        link = tarfile.TarInfo('x')
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path/'elsewhere')
        (tmp_path/'elsewhere').mkdir()
        t.addfile(link)
        member = tarfile.TarInfo('x/a.jpg')
        member.size = 1
        t.addfile(member, io.BytesIO(b'x'))
    unpacked(path)
    assert not list((tmp_path/'elsewhere').iterdir())

bombs = dict(zip=lambda p: packed(p.with_suffix('.zip'), {'a.bmp': bytes(30_000_000)}),
             gz=lambda p: packed(p.with_suffix('.tgz'), {'a.bmp': bytes(30_000_000)}))

@pytest.mark.parametrize('kind', bombs)
def test_bombs(kind, tmp_path, monkeypatch, own_cache):
    "What is unpacked is counted while it is written"
    monkeypatch.setattr(archive, 'most_unpacked', 10_000_000)
    with pytest.raises(QuickclsError, match='a decompression bomb'): unpacked(bombs[kind](tmp_path/'p'))
    assert sum(p.stat().st_size for p in own_cache.rglob('*') if p.is_file()) < 1000

def test_a_bomb_in_the_header(tmp_path):
    "A long name of a tar is read into memory: it may not be long"
    path = tmp_path/'p.tgz'
    header = tarfile.TarInfo('././@LongLink')
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**30
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(5_000_000)))
    with pytest.raises(QuickclsError, match='header that is too large'): unpacked(path)

def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, 'most_members', 3)
    with pytest.raises(QuickclsError, match='more than 3 members'): unpacked(packed(tmp_path/'p.zip', pictures))

@pytest.mark.parametrize('make', [
    lambda good: b'', lambda good: b'no archive at all'*100, lambda good: good[:len(good)//2],
    lambda good: good[:200] + bytes(300) + good[500:],
    lambda good: gzip.compress(b'no tar'), lambda good: bz2.compress(good)[:-20], lambda good: lzma.compress(good)[:-20],
], ids=['empty', 'text', 'half', 'holes', 'gz of no tar', 'cut bz2', 'cut xz'])
@pytest.mark.parametrize('name', ['p.zip', 'p.tar'])
def test_damaged_archives(name, make, tmp_path, own_cache):
    "One line, and nothing half-done in the cache"
    path = packed(tmp_path/name, pictures)
    path.write_bytes(make(path.read_bytes()))
    try: read_items(path)
    except QuickclsError as e: assert re.search('damaged|No labelled|No files|Only one class|There is no', str(e)), str(e)
    assert not [p for p in own_cache.rglob('*') if 'quickcls-' in p.name]

def test_a_password(tmp_path):
    path = packed(tmp_path/'p.zip', pictures)
    data = bytearray(path.read_bytes())
    for at in [m.start() for m in re.finditer(b'PK\x01\x02', data)]: data[at+8] |= 1
    path.write_bytes(data)
    with pytest.raises(QuickclsError, match='needs a password'): unpacked(path)

# --- a server

class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    files, asked, faults = {}, [], {}

    def do_GET(self):
        self.asked.append((self.path, self.headers.get('Range')))
        path = self.path.partition('?')[0]
        if path in self.faults and self.faults[path](self) is not None: return
        data = self.files.get(path)
        if data is None: return self.send_error(404)
        self.send(data, self.start)

    @property
    def start(self): return int(re.sub(r'\D', '', self.headers.get('Range') or '') or 0)

    def send(self, data, start=0, cut=None):
        self.send_response(206 if start else 200)
        self.send_header('ETag', f'"{hashlib.sha256(data).hexdigest()}"')
        if start: self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
        self.send_header('Content-Length', str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:cut])
        if cut: self.close_connection = True
        return True

    def answer(self, code, **headers):
        self.send_response(code)
        for k, v in (dict(Content_Length='0') | headers).items(): self.send_header(k.replace('_', '-'), v)
        self.end_headers()
        return True

    def log_message(self, *args): pass

@pytest.fixture
def server(monkeypatch):
    "Address of a server of this test, and the class that answers"
    class Own(Server): files, asked, faults = {}, [], {}
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(downloading.time, 'sleep', lambda s: None)
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Own)
    s.daemon_threads = True
    threading.Thread(target=s.serve_forever, daemon=True).start()
    Own.home = f'http://127.0.0.1:{s.server_port}'
    yield Own
    s.shutdown()
    s.server_close()

def get(server, path, to, **how): return fetch(server.home + path, to, **dict(most=10**6, seconds=1, tries=3) | how)

def test_a_download_is_continued(server, tmp_path):
    "After a break the rest is asked for; a second call continues, too"
    data = os.urandom(50_000)
    server.files['/a'] = data
    breaks = iter([10_000, 30_000])
    def broken(s):
        if n := next(breaks, None): return s.send(data, s.start, cut=n)
    server.faults['/a'] = broken
    with pytest.raises(NotYet, match='only 10,000 of 50,000 bytes arrived'): get(server, '/a', tmp_path/'a', tries=1)
    assert get(server, '/a', tmp_path/'a').read_bytes() == data
    assert [r for _, r in server.asked] == [None, 'bytes=10000-', 'bytes=30000-'] and [p.name for p in tmp_path.iterdir()] == ['a']

def test_another_file_is_not_joined_to_the_first_half(server, tmp_path):
    "The tag says whether it is still the same"
    first, second = os.urandom(5000), os.urandom(5000)
    server.faults['/a'] = lambda s: s.send(first, cut=2000)
    with pytest.raises(NotYet): get(server, '/a', tmp_path/'a', tries=1)
    server.faults['/a'] = lambda s: s.send(second) # as servers do where If-Range does not match
    assert get(server, '/a', tmp_path/'a').read_bytes() == second

faults = {
    '404': (lambda s: s.answer(404), Refused, 'the server answers 404', 1),
    '503': (lambda s: s.answer(503), NotYet, 'the server answers 503', 3),
    'circle': (lambda s: s.answer(302, Location=s.path), Refused, 'redirected to itself', None),
    'file': (lambda s: s.answer(302, Location='file:///etc/passwd'), Refused, 'redirected to what is no web address', 1),
    'ftp': (lambda s: s.answer(302, Location='ftp://127.0.0.1/a'), Refused, 'is no web address', 1),
    'huge': (lambda s: s.answer(200, Content_Length='999999999999'), Refused, 'at most 1 MB are taken', 1),
    'nothing': (lambda s: s.connection.close() or True, NotYet, 'closed|reset', 3),
    'silent': (lambda s: time.sleep(3) or True, NotYet, 'no answer in time|timed out', 1),
}

@pytest.mark.parametrize('fault', faults)
def test_faults(fault, server, tmp_path, monkeypatch):
    "What may pass is tried again, what will not is not; each has its reason"
    what, kind, words, times = faults[fault]
    monkeypatch.undo() if fault == 'silent' else None
    server.faults['/a'] = what
    with pytest.raises(kind, match=words): get(server, '/a', tmp_path/'a', tries=1 if fault == 'silent' else 3, pause=0)
    assert not (tmp_path/'a').exists() and times in (None, len(server.asked))

def test_an_answer_without_end(server, tmp_path):
    "No length is announced, and it does not stop"
    def pour(s):
        s.send_response(200)
        s.end_headers()
        try:
            while True: s.wfile.write(bytes(2**16))
        except OSError: s.close_connection = True
        return True
    server.faults['/a'] = pour
    with pytest.raises(Refused, match='at most 1 MB'): get(server, '/a', tmp_path/'a')

def test_a_drip_ends(server, tmp_path, monkeypatch):
    "The whole file has a bound in time, too"
    monkeypatch.undo()
    def drip(s):
        s.send_response(200)
        s.send_header('Content-Length', '1000')
        s.end_headers()
        try:
            for _ in range(1000):
                s.wfile.write(b'x')
                s.wfile.flush()
                time.sleep(.05)
        except OSError: pass
        return True
    server.faults['/a'] = drip
    with pytest.raises(NotYet, match='it takes too long'): get(server, '/a', tmp_path/'a', seconds=.2, tries=1)

@pytest.mark.parametrize('url', ['file:///etc/passwd', 'ftp://a/b', 'data:text/plain,a', '/etc/passwd', 'http://', 'http://[bad'])
def test_only_http_and_https(url, tmp_path):
    with pytest.raises(Refused, match='is no web address'): fetch(url, tmp_path/'a', most=100)

# --- an archive by its address

def test_an_archive_by_address(server, tmp_path, own_cache):
    "It is fetched once; the password in an address does not get into a command"
    server.files['/data/my%20pets.zip'] = packed(tmp_path/'p.zip', pictures, top='').read_bytes()
    url = f'{server.home}/data/my%20pets.zip?token=secret'
    items = read_items(url)
    assert len(items) == 4 and source_name(url) == 'my pets' and Path(items.folder).name == 'my pets'
    assert len(read_items(url)) == 4 and len(server.asked) == 1
    assert not list((own_cache/'archives'/'fetched').iterdir())
    from quickcls.report.record import public_command
    assert public_command(f"quickcls train '{url}'") == 'quickcls train my%20pets.zip'

def test_a_wrong_archive_by_address(server, tmp_path, own_cache):
    server.files['/p.zip'] = b'<html>Sorry</html>'
    with pytest.raises(QuickclsError, match='p.zip is damaged, or no zip or tar'): read_items(f'{server.home}/p.zip')
    with pytest.raises(QuickclsError, match='could not be fetched: the server answers 404'): read_items(f'{server.home}/none.zip')
    with pytest.raises(QuickclsError, match='another file, or damaged'): read_items(f'{server.home}/p.zip', checksum='0'*64)
    server.files['/p.zip'] = good = packed(tmp_path/'p.zip', pictures).read_bytes()
    assert len(read_items(f'{server.home}/p.zip', checksum=hashlib.sha256(good).hexdigest())) == 4
    assert not [p for p in own_cache.rglob('*') if 'quickcls-' in p.name]

# --- lists of addresses

def test_a_list_of_addresses(server, tmp_path, capsys):
    "Images by their content alone; failures in a table; a second call fetches the rest only"
    server.files |= {'/a.jpg': pictures['cat/0.jpg'], '/b': pictures['cat/1.jpg'], '/c.png': pictures['dog/0.jpg'],
                     '/page.jpg': b'<html>no</html>', '/half.jpg': pictures['dog/1.jpg'][:300], '/big.jpg': bytes(3*10**6)}
    rows = [('/a.jpg', 'cat'), ('/b', 'cat'), ('/c.png', 'dog'), ('/page.jpg', 'dog'), ('/half.jpg', 'dog'), ('/big.jpg', 'dog')]
    rows.append(('/gone', 'cat'))
    text = 'link,class\n' + ''.join(f'{server.home}{p},{c}\n' for p, c in [*rows, rows[0]]) + 'file:///etc/passwd,dog\n'
    (tmp_path/'urls.csv').write_text(text)
    folder = download(tmp_path/'urls.csv', tmp_path/'set', most_mb=1, seconds=2, tries=2)
    assert '3 images were fetched, 0 were there, 5 failed' in capsys.readouterr().out
    assert read_items(folder).table.label.value_counts().to_dict() == dict(cat=2, dog=1) and not list(folder.rglob('*.part'))
    why = (folder/'failed.csv').read_text()
    for part in ('an HTML page, not an image', 'at most 1 MB', '404', 'no web address'): assert part in why
    assert {p.suffix for p in folder.rglob('*') if p.is_file()} == {'.jpg', '.csv'}
    server.files['/gone'] = pictures['dog/1.jpg']
    before = len(server.asked)
    download(tmp_path/'urls.csv', folder, most_mb=1, seconds=2, tries=1)
    assert not {p for p, _ in server.asked[before:]} & {'/a.jpg', '/b', '/c.png'}
    assert '1 images were fetched, 3 were there' in capsys.readouterr().out

def test_a_text_file_for_each_class(server, tmp_path, quickcls):
    "From the command line"
    server.files |= {'/a': pictures['cat/0.jpg'], '/b': pictures['dog/0.jpg']}
    (tmp_path/'urls').mkdir()
    for c, p in dict(cat='/a', dog='/b').items():
        (tmp_path/'urls'/f'{c}.txt').write_text(f'# from the web\n{server.home}{p}\n\n')
    done = quickcls('download', tmp_path/'urls', tmp_path/'set', cwd=tmp_path)
    assert done.returncode == 0 and '2 images were fetched' in done.stdout, done.stderr
    assert read_items(tmp_path/'set').vocab == ['cat', 'dog']

@pytest.mark.parametrize('label', ['../out', '.hidden', 'a/b', ''])
def test_a_class_that_is_no_name_of_a_folder(label, tmp_path):
    (tmp_path/'urls.csv').write_text(f'url,label\nhttp://127.0.0.1/a.jpg,{label}\n')
    with pytest.raises(QuickclsError, match='class name|No addresses'): addresses_in(tmp_path/'urls.csv')

def test_nothing_could_be_fetched(server, tmp_path):
    (tmp_path/'urls.csv').write_text(f'url,label\n{server.home}/a.jpg,cat\n')
    with pytest.raises(QuickclsError, match='None of 1 images could be fetched. The first that failed: .*, the server answers 404'):
        download(tmp_path/'urls.csv', tmp_path/'set', tries=1)
