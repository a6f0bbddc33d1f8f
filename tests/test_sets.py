"Data sets by name: cards are checked, archives are verified, nothing half-fetched stays, where images came from is kept"
import functools, hashlib, http.server, io, json, shutil, subprocess, sys, threading, types, zipfile
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from quickcls.core import QuickclsError
from quickcls.sets.cards import all_cards, read_card
from quickcls.sets.collect import collect, read_addresses
from quickcls.sets.get import get_dataset, note
from tests.helpers import repo

def png(seed, size=48):
    f, rng = io.BytesIO(), np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((size, size), Image.BICUBIC).save(f, 'PNG')
    return f.getvalue()

class Handler(http.server.SimpleHTTPRequestHandler):
    asked = []
    def log_message(self, *a): pass
    def do_GET(self):
        Handler.asked.append((self.path, self.headers.get('Range')))
        super().do_GET()

@pytest.fixture
def web(tmp_path):
    "A folder that a server of this machine shows, and its address"
    top = tmp_path/'web'
    top.mkdir()
    Handler.asked = []
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=top))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield top, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()

@pytest.fixture
def at(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    return tmp_path

def write_card(at, url, **facts):
    facts = dict(get='address', address=url) | facts
    lines = '\n'.join(f'{k}: {json.dumps(v)}' for k, v in facts.items() if v is not None)
    (at/'blobs.md').write_text(f'---\n{lines}\n---\n# Blobs: two kinds\n\nSmall images.\n\n| | |\n|---|---|\n| Licence | CC0 |\n')
    return './blobs.md'

def archive(path, kinds=('red', 'blue'), n=4, extra=()):
    with zipfile.ZipFile(path, 'w') as z:
        for k, kind in enumerate(kinds):
            for i in range(n): z.writestr(f'v2/blobs/{kind}/{i}.png', png(100*k + i))
        for name, data in extra: z.writestr(name, data)
    return path.read_bytes()

# --- cards

def test_every_card_says_what_a_user_asks():
    cards = all_cards()
    assert {'parts', 'casting', 'hymenoptera', 'flowers', 'pets', 'imagenette'} <= {c.name for c in cards}
    for c in cards:
        assert c.title and c.about and c.row('Source') and c.row('Licence') and c.row('Images'), c.name
        assert c.section('Known faults') and c.section('Get it') and c.section('Accuracy'), c.name
        assert c.images and c.classes, c.name

def test_what_the_card_of_parts_counts_is_there():
    card = read_card('parts')
    assert card.counts == {k: len(list((repo/'datasets'/'parts'/k).glob('*.jpg'))) for k in ('defect', 'ok')}

def test_sets_of_fastai_have_its_addresses_and_checks():
    "Read as text: fastai is not imported"
    import ast, importlib.util
    place = Path(importlib.util.find_spec('fastai').origin).parent/'data'/'download_checks.py'
    checks = ast.literal_eval(place.read_text())
    ours = [c for c in all_cards() if 'fast-ai' in c.facts.get('address', '')]
    assert len(ours) >= 6
    for c in ours: assert checks[c.facts['address']] == (c.facts['bytes'], c.facts['first_md5']), c.name

@pytest.mark.parametrize('facts, said', [
    (dict(get='steal'), 'here, address, kaggle, hand'),
    (dict(address='file:///etc/passwd'), 'web address'),
    (dict(address=None), 'does not say `address`'),
    (dict(folder='../..'), 'path inside'),
    (dict(folder='/etc'), 'path inside'),
    (dict(folder='a/../../b'), 'path inside'),
    (dict(sha256='abc'), '64 hex digits'),
    (dict(classes={'a': -1}), 'number of images'),
    (dict(classes=[]), 'number of images'),
    (dict(get='kaggle', kaggle='a/b/../c'), 'OWNER/NAME'),
    (dict(adress='http://x'), 'Did you mean address')])
def test_a_wrong_card_is_told_before_anything_is_fetched(at, web, facts, said):
    name = write_card(at, f'{web[1]}/blobs.zip', **facts)
    with pytest.raises(QuickclsError, match=said): get_dataset(name)
    assert not Handler.asked and not (at/'blobs').exists()

@pytest.mark.parametrize('text', [
    '', '# No facts\n\nText.\n', '---\nget: [\n---\n# A\n\nb\n', '---\n- a\n---\n# A\n\nb\n', '---\nget: hand\n---\nno heading\n',
    '---\nget: !!python/object/apply:os.system ["true"]\n---\n# A\n\nb\n'])
def test_what_is_no_card(at, text):
    (at/'x.md').write_text(text)
    with pytest.raises(QuickclsError, match='x.md'): read_card('./x.md')

def test_a_name_with_a_slip_is_answered_with_the_nearest(quickcls):
    done = quickcls('get', 'hymenoptara')
    assert done.returncode == 1 and 'Did you mean hymenoptera?' in done.stderr
    assert 'flowers' in quickcls('datasets').stdout
    assert json.loads(quickcls('datasets', 'pets', '--json').stdout)['images'] == 7390

# --- from an address

def test_a_set_is_fetched_verified_and_counted(at, web, capsys, monkeypatch):
    monkeypatch.setenv('QUICKCLS_CACHE', str(at/'cache'))
    data = archive(web[0]/'blobs.zip')
    name = write_card(at, f'{web[1]}/blobs.zip', folder='v2/blobs', classes=dict(red=4, blue=5), sha256=hashlib.sha256(data).hexdigest())
    folder = get_dataset(name)
    assert sorted(p.name for p in folder.iterdir()) == ['.quickcls', 'blue', 'red'] and len(list(folder.glob('*/*.png'))) == 8
    said = capsys.readouterr().out
    assert 'CC0' in said and 'blue: 4 images, and the card says 5' in said and 'red:' not in said
    assert json.loads((folder/note).read_text())['sha256'] == hashlib.sha256(data).hexdigest()
    n = len(Handler.asked)
    get_dataset(name)
    assert len(Handler.asked) == n and 'is there already' in capsys.readouterr().out
    assert not list((at/'cache').rglob('*.part')) and not [p for p in at.iterdir() if p.name.startswith('.blobs')]

@pytest.mark.parametrize('facts', [
    dict(sha256='0'*64), dict(bytes=7), dict(first_md5='0'*32), dict(folder='v3'), dict(address_of='gone.zip')])
def test_another_archive_leaves_nothing(at, web, facts):
    archive(web[0]/'blobs.zip')
    url = f'{web[1]}/{facts.pop("address_of", "blobs.zip")}'
    with pytest.raises(QuickclsError): get_dataset(write_card(at, url, **facts))
    assert not (at/'blobs').exists() and not [p for p in at.iterdir() if p.name.startswith('.blobs')]

def test_a_member_that_leads_out_is_refused(at, web):
    archive(web[0]/'blobs.zip', extra=[('../../evil.png', png(9))])
    with pytest.raises(QuickclsError, match='leads out'): get_dataset(write_card(at, f'{web[1]}/blobs.zip'))
    assert not list(at.rglob('evil.png')) and not (at/'blobs').exists()

def test_a_folder_of_the_user_is_never_replaced(at, web):
    archive(web[0]/'blobs.zip')
    (at/'blobs').mkdir()
    (at/'blobs'/'mine.txt').write_text('mine')
    with pytest.raises(QuickclsError, match='not replaced'): get_dataset(write_card(at, f'{web[1]}/blobs.zip'), force=True)
    assert (at/'blobs'/'mine.txt').read_text() == 'mine' and not Handler.asked

def test_force_fetches_a_new_version(at, web):
    archive(web[0]/'blobs.zip')
    name = write_card(at, f'{web[1]}/blobs.zip', folder='v2/blobs')
    get_dataset(name)
    archive(web[0]/'blobs.zip', kinds=('red', 'blue', 'green'))
    get_dataset(name, force=True)
    assert (at/'blobs'/'green').is_dir() and len(Handler.asked) == 2

# --- the other ways

def test_by_hand_and_in_the_repository(at):
    with pytest.raises(QuickclsError, match='by hand.*datasets trashnet'): get_dataset('trashnet')
    assert get_dataset('parts') == repo/'datasets'/'parts'

def test_kaggle_needs_its_library_and_a_key(at, monkeypatch):
    monkeypatch.setitem(sys.modules, 'kagglehub', None)
    with pytest.raises(QuickclsError, match=r"quickcls\[datasets\]"): get_dataset('casting')
    monkeypatch.undo()
    pytest.importorskip('kagglehub')
    monkeypatch.chdir(at)
    for k in ('KAGGLE_USERNAME', 'KAGGLE_KEY', 'KAGGLE_API_TOKEN'): monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv('KAGGLE_CONFIG_DIR', str(at/'none'))
    with pytest.raises(QuickclsError, match='Kaggle wants a key'): get_dataset('casting')
    assert not (at/'casting').exists()

def test_from_kaggle_only_the_folder_of_the_images_is_taken(at, monkeypatch):
    "With a stand-in for the download; the interface is that of the real library"
    kagglehub = pytest.importorskip('kagglehub')
    monkeypatch.setenv('KAGGLE_USERNAME', 'a')
    monkeypatch.setenv('KAGGLE_KEY', 'b')
    there = at/'kagglehub'/'casting_data'/'casting_data'
    for split in 'train', 'test':
        for kind in 'def_front', 'ok_front':
            (there/split/kind).mkdir(parents=True)
            (there/split/kind/'a.png').write_bytes(png(len(split) + 20*len(kind)))
    (at/'kagglehub'/'casting_512x512').mkdir()
    monkeypatch.setattr(kagglehub, 'dataset_download', lambda handle: str(at/'kagglehub'))
    folder = get_dataset('casting')
    assert sorted(p.name for p in folder.iterdir()) == ['.quickcls', 'test', 'train'] and len(list(folder.rglob('*.png'))) == 4
    assert json.loads((folder/note).read_text())['kaggle'].startswith('ravirajsinh45/')

# --- a search

@pytest.fixture
def search(web, monkeypatch):
    "A search that finds eight images a query: one twice, one that is a web page, one that is no address"
    top, base = web
    for kind in 'judo', 'chess':
        for i in range(6): (top/f'{kind}{i}.png').write_bytes(png(100*len(kind) + i, 96))
        (top/f'{kind}6.png').write_bytes((top/f'{kind}0.png').read_bytes())
        (top/f'{kind}7.png').write_text('<html>gone</html>')
    asked = []
    class DDGS:
        def __init__(self, timeout=None): pass
        def images(self, query, max_results=None, **how):
            asked.append((query, how))
            kind = query.split()[0]
            titles = [f'=HYPERLINK("{kind}")' if i == 1 else f'{kind} \x1b[31m{i}' for i in range(8)]
            rows = [dict(image=f'{base}/{kind}{i}.png', title=t, url=f'{base}/page', source='Web') for i, t in enumerate(titles)]
            return [dict(image='file:///etc/passwd', title='x', url='', source=''), *rows][:max_results]
    monkeypatch.setitem(sys.modules, 'ddgs', types.SimpleNamespace(DDGS=DDGS))
    return asked

def test_a_search_becomes_a_set(at, search, capsys):
    folder = collect('judo=judo match', 'chess', out='sports', n=20)
    images = sorted(folder.glob('*/*.png'))
    assert len(images) == 12 and {p.parent.name for p in images} == {'judo', 'chess'}
    rows = read_addresses(folder)
    assert len(rows) == 16 and not any('passwd' in r['url'] for r in rows)
    assert sum(r['file'].startswith('a copy') for r in rows) == 2 and sum(r['file'] == '' for r in rows) == 2
    assert {r['file'] for r in rows if '.png' in r['file']} == {p.relative_to(folder).as_posix() for p in images}
    raw = (folder/'addresses.csv').read_text()
    assert '\x1b' not in raw and "'=HYPERLINK" in raw and all(r['licence'] == 'not told' for r in rows)
    assert 'an HTML page' in (folder/'failed.csv').read_text()
    said = capsys.readouterr().out
    assert 'copies that were moved aside: 2' in said and 'not free' in said.replace('\n', ' ')

def test_a_second_call_fetches_nothing_again(at, search):
    folder = collect('judo', 'chess', out='sports', n=7)
    first = {p: p.stat().st_mtime_ns for p in folder.glob('*/*.png')}
    Handler.asked.clear()
    collect('judo', 'chess', out='sports', n=6)
    assert {p: p.stat().st_mtime_ns for p in folder.glob('*/*.png')} == first
    assert len(search) == 2 and not Handler.asked

def test_a_licence_is_asked_for_where_it_can_be(at, search):
    collect('judo', 'chess', out='sports', n=5, licence='share')
    assert all(how == dict(license_image='Share', backend='duckduckgo') for _, how in search)
    assert {r['licence'] for r in read_addresses(at/'sports')} == {'share, says the search'}

@pytest.mark.parametrize('queries, how, said', [
    (('judo',), {}, 'two or more'), (('judo', 'judo'), {}, 'two or more'), (('a=', 'b=c'), {}, 'two or more'), (('../x', 'b'), {}, 'class'),
    (('a', 'b'), dict(n=0), '1 to 1,000'), (('a', 'b'), dict(n=5000), '1 to 1,000'),
    (('a', 'b'), dict(licence='free'), 'Expected one of any')])
def test_wrong_searches_are_told_before_the_network(at, search, queries, how, said):
    with pytest.raises(QuickclsError, match=said): collect(*queries, out='sports', **how)
    assert not search and not (at/'sports').exists()

def test_without_the_library_or_the_network(at, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ddgs', None)
    with pytest.raises(QuickclsError, match=r'quickcls\[datasets\]'): collect('a', 'b', out='x')
    class DDGS:
        def __init__(self, timeout=None): pass
        def images(self, *a, **k): raise RuntimeError('no route to host')
    monkeypatch.setitem(sys.modules, 'ddgs', types.SimpleNamespace(DDGS=DDGS))
    with pytest.raises(QuickclsError, match='no route to host'): collect('a', 'b', out='x')

def test_the_interfaces_of_both_libraries_are_as_expected():
    import inspect
    ddgs, kagglehub = pytest.importorskip('ddgs'), pytest.importorskip('kagglehub')
    inspect.signature(ddgs.DDGS).bind(timeout=20)
    inspect.signature(ddgs.DDGS.images).bind(None, 'query', max_results=5, license_image='Share', backend='duckduckgo')
    inspect.signature(kagglehub.dataset_download).bind('owner/name')
    from kagglehub.config import get_kaggle_credentials
    inspect.signature(get_kaggle_credentials).bind()

@pytest.mark.slow
def test_a_wheel_has_the_cards(tmp_path):
    pytest.importorskip('setuptools', minversion='77')
    for part in ('quickcls', 'datasets', 'setup.py', 'settings.ini', 'pyproject.toml', 'README.md'): # building writes beside its source
        (shutil.copytree if (repo/part).is_dir() else shutil.copy)(repo/part, tmp_path/'source'/part)
    words = ['-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-q', '-w', str(tmp_path), str(tmp_path/'source')]
    subprocess.run([sys.executable, *words], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob('*.whl'))).namelist()
    assert {f'quickcls/templates/datasets/{c.name}.md' for c in all_cards()} <= set(names)
