"quickcls doctor on drawn folders with planted faults: what it says, what it moves, what it remembers"
import json, os, shutil
from pathlib import Path
import pytest
from PIL import Image
from quickcls.cli import main
from quickcls.core import QuickclsError
from quickcls.data.items import scan_folder
from quickcls.doctor import examine, searches
from quickcls.doctor.manifest import list_file, quarantine
from quickcls.doctor.searches import Search
from quickcls.findings.finding import Finding, kinds, split_of
from tests.axe import serious_faults
from tests.helpers import MeanColour, image, as_bytes, bad_files, broken_images, tiny_graph
from tests.test_doctor_actions import state

def planted(root):
    "A train and a test folder with exact copies, a leak, a wrong label, damaged files and text"
    for i in range(60):
        path = root/('test' if i % 3 == 0 else 'train')/('warm', 'cold')[i % 2]/f'{i:02}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        im = image(i)
        r, g, b = im.split()
        path.write_bytes(as_bytes(Image.merge('RGB', (r.point(lambda v: v//3), g, b) if i % 2 else (r, g, b.point(lambda v: v//3)))))
    for a, b in (('warm/02', 'warm/02 copy'), ('warm/02', 'warm/02 copy 2'), ('cold/05', 'warm/05'), ('warm/08', '../test/warm/08')):
        shutil.copy2(root/f'train/{a}.jpg', root/f'train/{b}.jpg')
    for name, data in broken_images().items(): (root/'train/cold'/name).write_bytes(data)
    (root/'train/warm/page.jpg').write_bytes(bad_files()['page.jpg'][0])
    (root/'test/warm/empty.jpg').write_bytes(b'')
    (root/'train/warm/notes.txt').write_text('taken in May')
    return root

def same_bytes(examined):
    "What stands for the search for copies"
    out = []
    for _, t in examined.table.groupby('sha256'):
        split, two = split_of(t.split), t.label.nunique() > 1
        if len(t) < 2: continue
        kind = 'two-labels' if two else 'leak' if split == 'both' else 'exact-duplicate'
        out.append(Finding(kind, tuple(t.path), 'they have the same bytes', keep=None if two else sorted(t.path, key=len)[0],
                           split=split, act=None if two else 'quarantine'))
    return out

def odd_one(examined):
    "What stands for the search for wrong labels: one in training, one in test"
    how = dict(score=.9, act='relabel', to='cold')
    return [Finding('wrong-label', (p,), 'its neighbours are cold', split='test' if '/test/' in p else 'train', **how)
            for p in examined.table.path if p.endswith(('train/warm/04.jpg', 'test/warm/06.jpg'))]

def broken(examined): raise MemoryError

stand_ins = [Search('copies', 'x.same_bytes', ('two-labels', 'leak', 'exact-duplicate')), Search('labels', 'x.odd_one', ('wrong-label',)),
             Search('outliers', 'x.broken', ('outlier',))]

@pytest.fixture(scope='session')
def set_of_faults(tmp_path_factory): return planted(tmp_path_factory.mktemp('faults')/'set')

@pytest.fixture
def folder(set_of_faults, tmp_path): return shutil.copytree(set_of_faults, tmp_path/'set')

@pytest.fixture(autouse=True)
def quick(monkeypatch):
    "No network: the mean colour is the embedding; three searches, one of which fails"
    graph = tiny_graph()
    graph.nf = 1
    monkeypatch.setattr(examine, 'get_extractors', lambda *_, **__: [graph])
    monkeypatch.setattr('quickcls.backbones.engines.open_engine', lambda *a, **kw: MeanColour())
    monkeypatch.setattr(searches, 'searches', stand_ins)
    monkeypatch.setattr(Search, 'run', lambda self, known: globals()[self.place.removeprefix('x.')](known.examined))

def inside(folder, paths): return sorted(Path(p).relative_to(folder).as_posix() for p in paths)

def test_what_is_found(folder):
    "Every planted fault, and nothing else; a search that fails costs only itself"
    d = examine.doctor(str(folder))
    found = [(f.kind, f.split, f.act, inside(folder, f.images)) for f in d.findings]
    assert found == [
        ('damaged', 'test', 'quarantine', ['test/warm/empty.jpg']),
        ('damaged', 'train', 'quarantine', ['train/cold/half.jpg']),
        ('damaged', 'train', 'quarantine', ['train/cold/half.png']),
        ('not-an-image', 'train', 'quarantine', ['train/warm/page.jpg']),
        ('not-an-image', 'train', None, ['train/warm/notes.txt']),
        ('two-labels', 'train', None, ['train/cold/05.jpg', 'train/warm/05.jpg']),
        ('leak', 'both', 'quarantine', ['test/warm/08.jpg', 'train/warm/08.jpg']),
        ('exact-duplicate', 'train', 'quarantine', ['train/warm/02 copy 2.jpg', 'train/warm/02 copy.jpg', 'train/warm/02.jpg']),
        ('wrong-label', 'test', 'relabel', ['test/warm/06.jpg']),
        ('wrong-label', 'train', 'relabel', ['train/warm/04.jpg'])]
    assert d.failed == ['the search for outliers could not be made: there is not enough memory']

def test_the_summary(folder, capsys, monkeypatch):
    "Opens with the answer, counts images, ends with the next step; few lines, each fits"
    monkeypatch.setenv('COLUMNS', '80')
    monkeypatch.chdir(folder.parent) # a long path would take lines of the table
    assert main(['doctor', folder.name]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = ' '.join(' '.join(lines).split())
    assert lines[0].startswith('10 of 69 images have something: damaged files 2') and len(lines) <= 25 and max(map(len, lines)) <= 80
    assert 'Exact duplicates 2 quarantine' in text # the copy to keep is not counted
    assert 'Files that are no images 2 quarantine 1, look 1' in text
    assert '2 of 22 test images have something' in text and 'stand apart' in text
    assert 'Test accuracy' in text and 'without 2 doubtful images' in text
    assert 'could not be made: there is not enough memory' in text
    assert '--apply moves 7 images; --undo takes it back' in text and '--apply test moves 2 test images' in text

def test_json(folder, capsys):
    "A line a finding and nothing else on standard output"
    assert main(['doctor', str(folder), '--json']) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 10 and {'kind', 'images', 'keep', 'score', 'evidence', 'split', 'act', 'to'} <= set(rows[0])
    assert rows[7]['keep'] == str(folder/'train/warm/02.jpg') and rows[7]['kind'] == 'exact-duplicate' and len(rows[7]['images']) == 3

def test_table_and_markdown(folder, tmp_path):
    d = examine.doctor(str(folder))
    assert list(d.table.n) == [1, 1, 1, 1, 1, 2, 2, 3, 1, 1] and set(d.table.kind) <= set(kinds)
    text = d.to_markdown(tmp_path/'found.md')
    assert (tmp_path/'found.md').read_text() == text
    assert '| Exact duplicates | 2 | quarantine |' in text and '`train/warm/02.jpg` (keep)' in text and '## Test images' in text
    assert text.index('## Probably wrong labels') < text.index('## Test images') < text.rindex('### Probably wrong labels')
    assert '10 of 69' in d._repr_html_() and '10 of 69' in str(d)

def test_apply_and_undo(folder, capsys):
    "What is applied is gone at the next look, training reads none of it, undo restores all"
    before = state(folder)
    assert main(['doctor', str(folder), '--apply']) == 0
    out = capsys.readouterr().out
    assert 'moved: 7' in out and f'quickcls doctor {folder} --undo' in out
    there = inside(folder, scan_folder(folder).table.path)
    assert 'train/cold/04.jpg' in there and 'train/warm/02.jpg' in there and 'train/warm/02 copy.jpg' not in there
    assert ('train/warm/08.jpg' in there, 'test/warm/08.jpg' in there) in ((True, True), (False, True)) # of a leak only the training image
    assert {'test/warm/empty.jpg', 'train/warm/notes.txt'} <= set(inside(folder, folder.rglob('*.*')))
    left = {(f.kind, f.split) for f in examine.doctor(str(folder)).findings}
    assert ('exact-duplicate', 'train') not in left and ('damaged', 'train') not in left and ('damaged', 'test') in left
    assert main(['doctor', str(folder), '--undo']) == 0
    assert 'moved back: 7' in capsys.readouterr().out and state(folder) == before

def test_apply_some(folder, capsys):
    "Kinds; the test images by themselves"
    before = state(folder)
    assert main(['doctor', str(folder), '--apply', 'exact-duplicate,damaged']) == 0
    assert 'moved: 4' in capsys.readouterr().out
    assert main(['doctor', '--apply=test', str(folder)]) == 0
    assert 'moved: 2' in capsys.readouterr().out
    assert (folder/'test/cold/06.jpg').is_file() and (folder/quarantine/'test/warm/empty.jpg').exists()
    assert main(['doctor', str(folder), '--apply', 'two-labels']) == 0
    assert 'nothing to move among two-labels; what is left, a person decides' in capsys.readouterr().out
    main(['doctor', str(folder), '--undo'])
    assert state(folder) == before

def test_train_after_apply(folder, tmp_path):
    "The quarantine is no class and no image, though the folder around it is read"
    main(['doctor', str(folder), '--apply'])
    t = scan_folder(folder).table
    assert set(t.label) == {'warm', 'cold'} and not t.path.str.contains('quickcls').any()

def test_a_copy_that_is_kept_stays(folder):
    "Two searches disagree which copy to keep: never both go"
    d = examine.doctor(str(folder))
    a, b = (str(folder/f'train/warm/{n}.jpg') for n in ('02', '02 copy'))
    d.findings = [Finding('exact-duplicate', (a, b), '', keep=a, act='quarantine'),
                  Finding('near-duplicate', (b, a), '', keep=b, act='quarantine')]
    assert d.steps() == []

def test_kept_is_not_shown_again(folder, capsys):
    "By kind, by image; it says how many; it can be forgotten; another fault of the same image is still shown"
    main(['doctor', str(folder), '--keep', 'wrong-label,train/cold/05.jpg'])
    assert '3 more were kept' in capsys.readouterr().out
    d = examine.doctor(str(folder))
    assert d.hidden == 3 and not {'wrong-label', 'two-labels'} & {f.kind for f in d.findings} and len(d.findings) == 7
    (folder/'train/warm/04.jpg').write_bytes((folder/'train/warm/10.jpg').read_bytes() + b'\0') # another photo under the old name
    assert 'wrong-label' in {f.kind for f in examine.doctor(str(folder)).findings}
    main(['doctor', str(folder), '--forget'])
    assert 'forgotten: 4' in capsys.readouterr().out and examine.doctor(str(folder)).hidden == 0
    with pytest.raises(QuickclsError, match='nothing was found about it'): examine.doctor(str(folder)).keep('train/cold/11.jpg')

@pytest.mark.parametrize('words, code', [(['--fail-on', 'leak,blurred'], 3), (['--fail-on', 'blurred'], 0), (['--fail-on', 'any'], 3),
                                         (['--fail-on', 'any', '--only', 'dark'], 0), (['--only', 'damaged', '--fail-on', 'leak'], 0)])
def test_exit_codes(folder, words, code, capsys): assert main(['doctor', str(folder), *words]) == code

@pytest.mark.parametrize('words, said', [
    (['--only', 'blured'], 'Did you mean blurred'), (['--apply', 'copies'], "--apply names 'copies'"),
    (['--fail-on', 'x'], "--fail-on names 'x'"), (['--keep', 'nowhere.jpg'], 'nothing was found about it'),
    (['--html', '.'], 'is a folder'), (['--groups', 'sometimes'], '--groups is sometimes'),
    (['--undo', '--apply'], 'expected one of the two')])
def test_errors_in_one_line(folder, words, said, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    before = state(folder)
    assert main(['doctor', str(folder), *words]) == 1
    err = capsys.readouterr().err
    assert said in err and err.count('\n') == 1 and state(folder) == before

def test_files_of_others_are_not_replaced(folder, tmp_path, capsys):
    (tmp_path/'page.html').write_text('<h1>my own page</h1>')
    assert main(['doctor', str(folder), '--html', str(tmp_path/'page.html')]) == 1
    assert 'not written by quickcls doctor' in capsys.readouterr().err and 'my own' in (tmp_path/'page.html').read_text()
    for _ in range(2): assert main(['doctor', str(folder), '--html', str(tmp_path/'new.html'), '--markdown', str(tmp_path/'new.md')]) == 0

def test_interrupted(folder, capsys):
    "Moves that a killed run left open are told, and completed by the next --apply"
    d = examine.doctor(str(folder))
    d.apply('exact-duplicate')
    lines = (folder/list_file).read_text().splitlines(keepends=True)
    (folder/list_file).write_text(''.join(lines[:-1])) # killed before the last line
    moved = folder/json.loads(lines[0])['to']
    os.rename(moved, folder/json.loads(lines[0])['from']) # and before the first move
    assert any('was interrupted (2 moves are open)' in n for n in examine.doctor(str(folder)).notes)
    main(['doctor', str(folder), '--apply', 'wrong-label'])
    assert moved.exists() and not (folder/json.loads(lines[0])['from']).exists() and 'moved: 3' in capsys.readouterr().out

def test_manifest_of_a_stranger(folder, capsys):
    "It costs the memory of decisions, not the examination; nothing is moved"
    (folder/'.quickcls').mkdir()
    (folder/list_file).write_text('{"what": "relabel", "from": "../../x", "to": "a/b", "sha256": "", "made": 0, "mtime_ns": 0}\n')
    before = state(folder)
    assert main(['doctor', str(folder), '--json']) == 0
    got = capsys.readouterr()
    assert len(got.out.splitlines()) == 10 and 'manifest.jsonl, line 1' in got.err
    assert main(['doctor', str(folder), '--apply']) == 1 and main(['doctor', str(folder), '--undo']) == 1
    assert state(folder) == before

def test_odd_names(tmp_path, capsys):
    "Names with HTML, spaces, line ends and bytes that are no UTF-8: found, shown as text, moved, and back"
    names = ['<img src=x onerror=alert(1)>.jpg', 'a `b` |c.jpg', 'line\nend.jpg', os.fsdecode(b'caf\xe9.jpg'), "it's $(x).jpg"]
    for i, label in enumerate(('<b>bold</b>', 'plain')):
        (tmp_path/'set'/label).mkdir(parents=True)
        for j in range(8): (tmp_path/'set'/label/f'{j}.jpg').write_bytes(as_bytes(image(10*i + j)))
    for n in names: (tmp_path/'set/plain'/n).write_bytes((tmp_path/'set/plain/0.jpg').read_bytes())
    before = state(tmp_path/'set')
    d = examine.doctor(str(tmp_path/'set'))
    page = d.to_html(tmp_path/'page.html').read_text()
    assert '<img src=x' not in page and '&lt;img src=x' in page and '<b>bold' not in page
    assert '`` plain/a `b` |c.jpg ``' in d.to_markdown() and 'line?end' in d.to_markdown()
    assert '<img' not in d._repr_html_()
    rows = [json.loads(line) for line in d.to_json_lines().splitlines()]
    assert {Path(p).name for p in rows[0]['images']} == {*names, '0.jpg'}
    assert main(['doctor', str(tmp_path/'set'), '--apply', '--json']) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 and len(os.listdir(tmp_path/'set'/quarantine/'plain')) == 5
    assert main(['doctor', str(tmp_path/'set'), '--undo']) == 0 and state(tmp_path/'set') == before

def test_one_class_and_no_test(tmp_path):
    "A single class is enough to look for copies; without test folders nothing is said about them"
    for i in range(6):
        (tmp_path/'set/only').mkdir(parents=True, exist_ok=True)
        (tmp_path/'set/only'/f'{i}.jpg').write_bytes(as_bytes(image(i % 5)))
    d = examine.doctor(str(tmp_path/'set'))
    assert [f.kind for f in d.findings] == ['exact-duplicate'] and d.measured is None and 'est images' not in str(d)

def test_nothing_found(tmp_path, capsys):
    for i in range(6):
        (tmp_path/f'set/{i % 2}').mkdir(parents=True, exist_ok=True)
        (tmp_path/f'set/{i % 2}'/f'{i}.jpg').write_bytes(as_bytes(image(i)))
    assert main(['doctor', str(tmp_path/'set'), '--only', 'exact-duplicate', '--json', '--fail-on', 'any']) == 0
    assert capsys.readouterr().out == ''
    main(['doctor', str(tmp_path/'set'), '--only', 'exact-duplicate'])
    assert 'Nothing found in 6 images' in (out := capsys.readouterr().out) and f'next: quickcls train {tmp_path}/set' in out

def test_words_of_python(folder):
    "In Python the next steps are methods"
    text = str(examine.doctor(str(folder)))
    assert ".to_html('doctor.html') shows them" in text and '.apply() moves 7 images; .undo() takes it back' in text and '--' not in text

@pytest.mark.parametrize('width', [390, 1280])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page(browser, folder, tmp_path, width, scheme):
    "One file that loads nothing; images are shown, the copy to keep is marked, test images stand apart; nothing runs over; accessible"
    page = examine.doctor(str(folder)).to_html(tmp_path/'doctor.html')
    assert page.stat().st_size < 5_000_000
    tab, asked = browser.new_page(viewport=dict(width=width, height=900), color_scheme=scheme), []
    tab.on('request', lambda r: asked.append(r.url))
    tab.goto(page.as_uri())
    assert [u for u in asked if not u.startswith(('data:', 'file:'))] == []
    assert tab.evaluate('document.documentElement.scrollWidth') == width
    assert tab.evaluate('[...document.images].every(i => i.complete && i.naturalWidth)') and tab.locator('img.thumb').count() == 9
    kept = tab.locator('#train-exact-duplicate figure').first
    assert kept.get_attribute('class') == 'keep' and '02.jpg' in kept.inner_text()
    assert tab.locator('#test #test-wrong-label').count() == 1 and tab.locator('#train-wrong-label').inner_text().count('06.jpg') == 0
    assert serious_faults(tab) == []
    tab.close()

def test_by_hand(folder, monkeypatch, capsys):
    "--ui opens the page of the cleaner, which examines with the same options; options that it has itself are named"
    opened = []
    monkeypatch.setattr('quickcls.cleaner.page.clean_in_browser', lambda folder, **given: opened.append((folder, given)))
    assert main(['doctor', str(folder), '--ui', '--json']) == 0
    (at, given), = opened
    assert at == str(folder) and given['groups'] == 'auto' and given['only'] is None
    assert '--json does nothing here: the page of --ui has it' in ' '.join(capsys.readouterr().err.split())
