"The doctor on tables, archives, names and several labels; one program at a time moves files; what is unpacked can be pruned"
import json, os, shutil, subprocess, sys, time
from pathlib import Path
import pytest
from quickcls.cli import main
from quickcls.core import QuickclsError
from quickcls.doctor import examine, searches
from quickcls.doctor.actions import Step, apply_steps
from quickcls.doctor.manifest import alone
from quickcls.findings.finding import Finding
from quickcls.sources.archive import archives, unpacked
from quickcls.sources.table_file import read_sheet
from tests.helpers import as_bytes, image
from tests.test_doctor import quick # its searches: the same bytes, and a wrong label of `train/warm/04.jpg`
from tests.test_doctor_actions import state

def drawn(root):
    "Images whose names hold their class, two of them the same, one cut off; and their table"
    (root/'train').mkdir(parents=True)
    rows = ['file;class;note']
    for i in range(24):
        name = f'{("warm", "cold")[i % 2]}_{i:02}.jpg'
        (root/'train'/name).write_bytes(as_bytes(image(i)))
        rows.append(f'train/{name};"{name[:4]}";a; b'.replace('a; b', '"a; b"'))
    shutil.copy(root/'train/warm_00.jpg', root/'train/warm_90.jpg')
    (root/'train/cold_91.jpg').write_bytes((root/'train/cold_01.jpg').read_bytes()[:400])
    rows += ['train/warm_90.jpg;warm;', 'train/cold_91.jpg;cold;']
    rows += ['train/gone.jpg;cold;', 'train/warm_02.jpg;cold;', 'train/warm_04.jpg;;']
    (root/'labels.csv').write_bytes(('\ufeff' + '\r\n'.join(rows)).encode())
    return root

@pytest.fixture
def data(tmp_path): return drawn(tmp_path/'set')

def odd_name(examined):
    paths = [p for p in examined.table.path if 'warm_06' in p]
    return [Finding('wrong-label', (p,), 'its neighbours are cold', .9, act='relabel', to='cold') for p in paths]

@pytest.fixture
def odd(monkeypatch): monkeypatch.setattr('tests.test_doctor.odd_one', odd_name)

# a table

def test_a_table_is_examined(data, odd):
    found = {(f.kind, tuple(Path(p).name for p in f.images), f.act) for f in examine.doctor(str(data/'labels.csv')).findings}
    assert found == {('damaged', ('cold_91.jpg',), 'quarantine'), ('damaged', ('gone.jpg',), 'quarantine'),
                     ('two-labels', ('warm_02.jpg',), None), ('exact-duplicate', ('warm_00.jpg', 'warm_90.jpg'), 'quarantine'),
                     ('wrong-label', ('warm_06.jpg',), 'relabel')}

def test_a_corrected_table_is_written_beside_it(data, odd, capsys):
    "Rows go or are labelled otherwise, all others stay to the letter; the table and the images are not touched, so nothing comes back"
    before, table = state(data), data/'labels.csv'
    assert main(['doctor', str(table), '--apply']) == 0
    out = ' '.join(capsys.readouterr().out.split())
    assert 'labels-corrected.csv (3 rows left out, 1 relabelled); your table and your images are as they were' in out
    assert f'quickcls train {data}/labels-corrected.csv' in out and 'undo' not in out
    lines = table.read_bytes().split(b'\r\n')
    left = [line for line in lines if not line.startswith((b'train/warm_90', b'train/cold_91', b'train/gone'))]
    at = next(i for i, line in enumerate(left) if b'warm_06' in line)
    left[at] = b'train/warm_06.jpg;cold;"a; b"'
    corrected = data/'labels-corrected.csv'
    assert corrected.read_bytes() == b'\r\n'.join(left)
    assert main(['doctor', str(table), '--apply']) == 0 and (data/'labels-corrected-2.csv').is_file() # nothing is overwritten
    for p in (corrected, data/'labels-corrected-2.csv'): p.unlink()
    assert state(data) == before
    assert main(['doctor', str(table), '--undo']) == 0 and 'nothing to take back' in capsys.readouterr().out and state(data) == before

@pytest.mark.parametrize('suffix', ['.tsv', '.parquet'])
def test_the_corrected_table_is_of_the_same_kind(data, odd, suffix, capsys):
    import pandas as pd
    t = pd.read_csv(data/'labels.csv', sep=';', encoding='utf-8-sig').assign(size=range(29))
    table = (data/'labels').with_suffix(suffix)
    t.astype({'class': 'category'}).to_parquet(table) if suffix == '.parquet' else t.to_csv(table, sep='\t', index=False)
    assert main(['doctor', str(data), '--labels', table.name, '--apply', 'wrong-label,damaged']) == 0
    assert f'quickcls train {data} --labels {data}/labels-corrected{suffix}' in ' '.join(capsys.readouterr().out.split())
    was, now = read_sheet(table), read_sheet(data/f'labels-corrected{suffix}')
    assert len(was.numbers) - len(now.numbers) == 2 and now.columns['class'][6] == 'cold' and was.columns['class'][6] == 'warm'
    assert now.columns['size'] == [n for n in was.columns['size'] if n not in ('25', '26')]

def test_what_was_kept_of_a_table_is_not_shown_again(data, odd, capsys):
    main(['doctor', str(data/'labels.csv'), '--keep', 'wrong-label'])
    d = examine.doctor(str(data/'labels.csv'))
    assert d.hidden == 1 and 'wrong-label' not in {f.kind for f in d.findings}
    main(['doctor', str(data/'labels.csv'), '--forget'])
    assert 'forgotten: 1' in capsys.readouterr().out

def test_objects_are_examined_but_not_changed(data, odd):
    import pandas as pd
    rows = [(str(p), p.name[:4]) for p in sorted((data/'train').glob('*.jpg'))]
    d = examine.doctor(pd.DataFrame(rows, columns=['path', 'label']))
    assert {f.kind for f in d.findings} == {'damaged', 'exact-duplicate', 'wrong-label'}
    assert len(d.steps()) == 3 and 'DATA' in d.to_markdown()
    with pytest.raises(QuickclsError, match='here is neither'): d.apply()

# an archive, names

@pytest.fixture
def archive(tmp_path):
    for i in range(12):
        (tmp_path/f'pets/{"ab"[i % 2]}').mkdir(parents=True, exist_ok=True)
        (tmp_path/f'pets/{"ab"[i % 2]}'/f'{i}.jpg').write_bytes(as_bytes(image(i//4*4 + i % 2)))
    return shutil.make_archive(tmp_path/'pets', 'zip', tmp_path, 'pets')

def test_an_archive_is_examined(archive, capsys):
    assert main(['doctor', archive]) == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert 'Exact duplicates 6' in text and 'to mend it, unpack it and name the folder' in text and '--apply' not in text

@pytest.mark.parametrize('words', [['--apply'], ['--undo'], ['--keep', 'damaged'], ['--forget'], ['--ui']])
def test_nothing_in_an_archive_is_changed(archive, words, capsys):
    before = state(unpacked(archive))
    assert main(['doctor', archive, *words]) == 1
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and words[0] in err and state(unpacked(archive)) == before

def test_labels_in_names(data, odd, capsys):
    "Copies are moved and come back; a wrong label is a person's work, since a file would have to be renamed"
    before = state(data)
    d = examine.doctor(str(data), label_pattern='^([a-z]+)_')
    assert {(f.kind, f.act) for f in d.findings} == {('damaged', 'quarantine'), ('exact-duplicate', 'quarantine'), ('wrong-label', None)}
    assert main(['doctor', str(data), '--label-pattern', '^([a-z]+)_', '--apply']) == 0
    assert 'moved: 2' in (out := capsys.readouterr().out) and '--undo' in out and not (data/'train/warm_90.jpg').exists()
    assert main(['doctor', str(data), '--label-pattern', '^([a-z]+)_', '--undo']) == 0 and state(data) == before

@pytest.mark.parametrize('words', [
    ['--label-separator', ' ', '--label-pattern', 'x(y)'], ['--columns', 'label=class'], ['--checksum', 'x']])
def test_options_that_do_not_fit_are_told(data, words, capsys):
    assert main(['doctor', str(data), *words]) == 1 and capsys.readouterr().err.count('\n') == 1

# several labels

@pytest.fixture
def tagged(tmp_path, monkeypatch):
    "Images with up to three labels, each of which their embeddings tell; ten of them have a label too many or one too few"
    import numpy as np
    from quickcls.findings.finding import Examined
    monkeypatch.undo()
    rng, right, own = np.random.default_rng(0), {}, rng_labels(150)
    lines = ['image,labels']
    (tmp_path/'tagged').mkdir()
    for i, have in enumerate(own):
        name = f'{i:03}.png'
        image(i, 16, 16).save(tmp_path/'tagged'/name)
        labels = {c for c, h in zip(('dog', 'beach', 'snow'), have) if h}
        if i % 15 == 7: right[name], labels = ' '.join(sorted(labels)), labels ^ {'dog'}
        lines.append(f'{name},{" ".join(sorted(labels))}')
    (tmp_path/'tagged'/'labels.csv').write_text('\n'.join(lines))
    x = np.concatenate([own*3., rng.normal(size=(150, 20))], 1).astype(np.float32)
    known = lambda items, **_: Examined(items, x[[int(Path(p).stem) for p in items.table.path]], [[0, 23]])
    monkeypatch.setattr(examine, 'examine_items', known)
    return tmp_path/'tagged', right

def rng_labels(n):
    import numpy as np
    return np.random.default_rng(1).random((n, 3)) < (.5, .4, .2)

def test_wrong_labels_among_several(tagged, capsys):
    "Named with what is missing or too much; those kinds that are about one label are left out, which is said"
    root, right = tagged
    before, words = state(root), ['doctor', str(root), '--label-separator', ' ', '--only', 'wrong-label,small-class']
    assert main([*words, '--json']) == 0
    found = {Path(r['images'][0]).name: r for r in map(json.loads, capsys.readouterr().out.splitlines())}
    planted = {n for n in found if n in right and found[n]['to'] == right[n]}
    assert len(planted) >= 8 and len(found) - len(planted) <= 1
    assert {'dog is probably missing', 'dog is probably wrong'} == {found[n]['evidence'].split(' (')[0] for n in planted}
    assert main([*words, '--apply', 'wrong-label']) == 0
    out = ' '.join(capsys.readouterr().out.split())
    assert 'not looked for, because they are about one label an image: small-class' in out
    assert f'--labels {root}/labels-corrected.csv' in out
    rows = dict(line.split(',') for line in (root/'labels-corrected.csv').read_text().split('\n')[1:])
    assert all(rows[n] == right[n] for n in planted)
    (root/'labels-corrected.csv').unlink()
    assert state(root) == before

def test_labels_that_cannot_be_told_are_not_doubted():
    "Where the images say nothing about the labels, no label is called wrong, however rare it is"
    import numpy as np, pandas as pd
    from quickcls.data.items import Items
    from quickcls.findings.finding import Examined
    from quickcls.findings.labels import find_wrong_in_lists
    rng = np.random.default_rng(0)
    labels = [tuple(c for c, share in zip('abc', (.5, .2, .04)) if rng.random() < share) for _ in range(300)]
    t = pd.DataFrame(dict(path=[f'{i}.jpg' for i in range(300)], labels=labels, split=None, group=range(300)))
    assert find_wrong_in_lists(Examined(Items('.', t), rng.normal(size=(300, 40)).astype(np.float32), [[0, 40]], separator=';')) == []

# one at a time

def held(folder, who):
    "A process that holds the lock of a folder"
    code = (f'from pathlib import Path\nfrom quickcls.doctor.manifest import alone\n'
            f'with alone(Path({str(folder)!r}), {who!r}): print("locked", flush=True); input()')
    p = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert p.stdout.readline()
    return p

def test_two_programs_never_move_files_at_once(data, capsys):
    "The second is told in one line who is first; nothing moves; the lock of a killed process is free"
    before, other = state(data), held(data, 'quickcls doctor --ui')
    pattern = ['--label-pattern', '^([a-z]+)_']
    for words in (['--apply', *pattern], ['--undo', *pattern], ['--keep', 'damaged', *pattern]):
        assert main(['doctor', str(data), *words]) == 1, words
        err = capsys.readouterr().err
        assert err.count('\n') == 1 and f'quickcls doctor --ui (process {other.pid}) is at work in' in err and state(data) == before
    os.kill(other.pid, 9)
    other.wait()
    assert main(['doctor', str(data), *pattern, '--apply']) == 0 and state(data) != before
    assert main(['doctor', str(data), *pattern, '--undo']) == 0 and state(data) == before

def test_a_disk_without_locks(data, monkeypatch):
    "The number of the process tells whether it still runs"
    import fcntl
    def none(*_): raise OSError(95, 'Operation not supported')
    other = held(data, 'a page')
    monkeypatch.setattr(fcntl, 'flock', none)
    with pytest.raises(QuickclsError, match='a page'): apply_steps(data, [Step('train/warm_00.jpg')])
    other.kill()
    other.wait()
    assert apply_steps(data, [Step('train/warm_00.jpg')]).moved == 1

def test_the_same_folder_by_another_name(data, tmp_path):
    (tmp_path/'link').symlink_to(data)
    other = held(data, 'a page')
    with pytest.raises(QuickclsError, match='a page'), alone(tmp_path/'link', 'me'): pass
    other.kill()
    other.wait()

# the cache

def test_unpacked_archives_are_pruned(archive, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('QUICKCLS_CACHE', str(tmp_path/'cache'))
    folder = unpacked(archive)
    main(['cache', '--prune', '--days', '1'])
    assert folder.is_dir() and 'unpacked archives: 1' in capsys.readouterr().out
    old = time.time() - 40*86_400
    top = next(p for p in archives() if p in folder.parents)
    os.utime(top, (old, old))
    unpacked(archive) # used again
    main(['cache', '--prune'])
    assert folder.is_dir()
    os.utime(top, (old, old))
    main(['cache', '--prune'])
    assert not top.exists() and '1 unpacked archives' in capsys.readouterr().out and unpacked(archive) == folder and folder.is_dir()
