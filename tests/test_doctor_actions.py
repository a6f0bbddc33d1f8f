"The doctor moves images only inside their folder, overwrites and loses nothing, and takes everything back, also after a kill"
import json, os, sys
from pathlib import Path
import pytest
from quickcls.core import QuickclsError
from quickcls.doctor.actions import Step, apply_steps, undo_steps
from quickcls.doctor.manifest import forget_kept, kept_contents, list_file, quarantine, was_kept
from quickcls.folders.moving import digest_of
from quickcls.folders.walk import walk_files
from tests.helpers import repo

names = 'train/ants/1.jpg train/ants/2.jpg train/ants/nest/3.jpg train/bees/1.jpg train/bees/4.jpg test/ants/5.jpg'.split()

def filled(folder, names=names):
    "A folder of files with contents and times of their own"
    for i, n in enumerate(names):
        path = folder/n
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(n)*9)
        os.utime(path, ns=(10**18, 1_600_000_000_123_456_789 + i))
    return folder

def state(folder):
    "Every file with its bytes and its time, every folder"
    found = sorted(folder.rglob('*'))
    return {os.fsencode(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) if p.is_file() else None for p in found}

def named(folder): return sorted(p.relative_to(folder).as_posix() for p in walk_files(folder))

steps = [Step('train/ants/1.jpg', 'relabel', 'bees', 'its neighbours are bees'), Step('train/ants/nest/3.jpg', 'relabel', 'bees'),
         Step('train/ants/2.jpg', why='a copy'), Step('test/ants/5.jpg')]

def test_apply_and_undo(tmp_path):
    "Images go where they belong, under a free name; nothing else changes; undo restores every byte, name and time"
    folder = filled(tmp_path/'set')
    before = state(folder)
    done = apply_steps(folder, steps)
    assert (done.moved, done.left) == (4, [])
    assert named(folder) == ['train/bees/1-2.jpg', 'train/bees/1.jpg', 'train/bees/4.jpg', 'train/bees/nest/3.jpg']
    assert (folder/quarantine/'test/ants/5.jpg').read_bytes() == b'test/ants/5.jpg'*9
    rows = [json.loads(line) for line in (folder/list_file).read_text().splitlines()]
    assert [r['what'] for r in rows] == ['relabel', 'relabel', 'quarantine', 'quarantine', 'done']
    assert {k: rows[0][k] for k in ('why', 'from', 'to')} == dict(why='its neighbours are bees', to='train/bees/1-2.jpg') | {
        'from': 'train/ants/1.jpg'}
    assert rows[0]['when'][:2] == '20' and rows[0]['sha256'] == digest_of(folder/'train/bees/1-2.jpg')
    done = undo_steps(folder)
    assert (done.moved, done.left) == (4, []) and state(folder) == before

def test_in_several_batches(tmp_path):
    "An image that was moved twice comes back to where it was first; a quarantined name may come again"
    folder = filled(tmp_path/'set', ['a/1.jpg', 'b/1.jpg', 'c/2.jpg'])
    before = state(folder)
    apply_steps(folder, [Step('a/1.jpg', 'relabel', 'b')])
    apply_steps(folder, [Step('b/1-2.jpg', 'relabel', 'c'), Step('b/1.jpg')])
    (folder/'b/1.jpg').write_text('another')
    apply_steps(folder, [Step('b/1.jpg')])
    assert sorted(p.name for p in (folder/quarantine/'b').iterdir()) == ['1-2.jpg', '1.jpg']
    done = undo_steps(folder)
    assert [p for p, _ in done.left] == [f'{quarantine}/b/1.jpg'] # its name is taken by the younger one
    (folder/'b/1.jpg').rename(tmp_path/'younger')
    assert undo_steps(folder).left == [] and state(folder) == before

def test_paths_as_in_a_table(tmp_path, monkeypatch):
    "Relative to the working folder, absolute, or through a link to the whole folder"
    folder = filled(tmp_path/'set')
    (tmp_path/'short').symlink_to(folder)
    before = state(folder)
    monkeypatch.chdir(tmp_path)
    for given, path in (('set', 'set/test/ants/5.jpg'), ('set', str(folder/'test/ants/5.jpg')), ('short', 'short/test/ants/5.jpg'),
                        ('.', 'set/test/ants/5.jpg'), ('short', str(folder/'test/ants/5.jpg'))):
        assert apply_steps(given, [Step(path)]).moved == 1, given
        assert undo_steps(given).moved == 1
    assert state(folder) == before

@pytest.mark.parametrize('path', ['../secret.jpg', 'train/../../secret.jpg', '/etc/hostname', 'train/ants/../ants/1.jpg', ''])
def test_paths_outside_are_refused(tmp_path, path):
    "All of it: also the steps before"
    folder = filled(tmp_path/'set')
    (tmp_path/'secret.jpg').write_text('secret')
    before = state(tmp_path)
    with pytest.raises(QuickclsError, match='is not in'): apply_steps(folder, [*steps, Step(path)])
    assert state(tmp_path) == before

@pytest.mark.parametrize('to', ['../bees', 'a/b', '.quickcls', '..', '', None])
def test_odd_classes_are_refused(tmp_path, to):
    folder = filled(tmp_path/'set')
    before = state(folder)
    with pytest.raises(QuickclsError, match='is no class'): apply_steps(folder, [*steps, Step('train/ants/1.jpg', 'relabel', to)])
    assert state(folder) == before

def test_what_stays(tmp_path):
    "Links, pipes, hidden files, missing files, files behind a linked folder, unknown classes: named, and left"
    folder, other = filled(tmp_path/'set'), filled(tmp_path/'other', ['6.jpg'])
    (folder/'train/ants/link.jpg').symlink_to(other/'6.jpg')
    (folder/'train/wasps').symlink_to(other)
    (folder/'train/ants/.hidden.jpg').write_text('h')
    os.mkfifo(folder/'train/ants/pipe.jpg')
    asked = [Step(f'train/{n}') for n in ('ants/link.jpg', 'wasps/6.jpg', 'ants/.hidden.jpg', 'ants/pipe.jpg', 'ants/gone.jpg', 'ants')]
    done = apply_steps(folder, [*asked, Step('train/ants/1.jpg', 'relabel', 'flies'), Step('train/ants/1.jpg', 'relabel', 'wasps')])
    assert [why for _, why in done.left] == ['it is a link', 'its folder wasps is a link', 'it is hidden', 'it is no file',
        'it is no longer there', 'it is no file', 'there is no class folder flies beside it', 'there is no class folder wasps beside it']
    assert done.moved == 0 and not (folder/'.quickcls').exists()

@pytest.mark.parametrize('name', [
    'a b.jpg', '-rf.jpg', 'ä\u0308.jpg', '\\n\n\t.jpg', "'\".jpg", '$(x).jpg', 'x'*250, os.fsdecode(b'caf\xe9.jpg')])
def test_names_of_all_kinds(tmp_path, name):
    "Spaces, line ends, quotes, the longest, not UTF-8"
    folder = filled(tmp_path/'set', [f'ants/{name}', f'bees/{name[:200]}'])
    before = state(folder)
    assert apply_steps(folder, [Step(f'ants/{name}'), Step(f'bees/{name[:200]}', 'relabel', 'ants')]).moved == 2
    assert undo_steps(folder).left == [] and state(folder) == before

def test_what_changed_stays(tmp_path):
    "A quarantined file that was edited, or whose old name is taken, stays where it is and in the list"
    folder = filled(tmp_path/'set')
    apply_steps(folder, steps)
    (folder/quarantine/'test/ants/5.jpg').write_text('edited')
    (folder/'train/ants/2.jpg').write_text('new')
    done = undo_steps(folder)
    assert done.moved == 2 and dict(done.left) == {f'{quarantine}/test/ants/5.jpg': 'it was changed',
                                                   f'{quarantine}/train/ants/2.jpg': 'there is another file at train/ants/2.jpg'}
    (folder/'train/ants/2.jpg').unlink()
    assert undo_steps(folder).moved == 1 and (folder/'train/ants/2.jpg').read_bytes() == b'train/ants/2.jpg'*9

def test_decisions_are_remembered(tmp_path):
    "By kind and content; undo leaves them; all can be forgotten"
    folder = filled(tmp_path/'set')
    a, b = (digest_of(folder/n) for n in names[:2])
    apply_steps(folder, [Step(names[0], 'keep', kind='outlier'), Step(names[1], 'keep'), Step(names[2])])
    undo_steps(folder)
    kept = kept_contents(folder)
    assert kept == {('outlier', a), ('', b)}
    assert was_kept('outlier', [a, b], kept) and not was_kept('blurred', [a, b], kept) and was_kept('blurred', [b], kept)
    assert not was_kept('shortcut', [], kept)
    assert forget_kept(folder) == 2 and kept_contents(folder) == set() and not (folder/'.quickcls').exists()

def killed_at(n, work):
    "Run `work` in a process of its own that dies at its n-th line of our code; False where it came to its end"
    pid = os.fork()
    if pid: return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    left = n
    def trace(frame, event, arg):
        nonlocal left
        if not frame.f_code.co_filename.startswith(str(repo/'quickcls')): return None
        left -= event == 'line'
        if left < 0: os._exit(9)
        return trace
    try:
        sys.settrace(trace)
        work()
    finally: os._exit(0)

def every_kill(tmp_path, before, work):
    "A fresh folder, killed a line later each time"
    n = 0
    while True:
        folder = filled(tmp_path/f'set{n}', ['ants/1.jpg', 'ants/2.jpg', 'bees/1.jpg'])
        before(folder)
        went_on = killed_at(n, lambda: work(folder))
        yield n, folder
        if not went_on: return
        n += 1 + n//40 # each line at first, which is where the moves are; then fewer

two = [Step('ants/1.jpg', 'relabel', 'bees'), Step('ants/2.jpg')]

@pytest.mark.parametrize('again', [True, False])
def test_killed_while_it_moves(tmp_path, again):
    "At any line: the next call completes it, or undo takes it back; no byte is lost"
    original, n = None, 0
    for n, folder in every_kill(tmp_path, lambda f: None, lambda f: apply_steps(f, two)):
        original = original or state(filled(tmp_path/'original', ['ants/1.jpg', 'ants/2.jpg', 'bees/1.jpg']))
        if again:
            apply_steps(folder, two)
            assert named(folder) == ['bees/1-2.jpg', 'bees/1.jpg'] and (folder/quarantine/'ants/2.jpg').is_file(), n
        assert undo_steps(folder).left == [], n
        assert state(folder) == original, n
    assert n > 100

def test_killed_while_it_takes_back(tmp_path):
    "At any line: the next undo completes it"
    original, n = state(filled(tmp_path/'original', ['ants/1.jpg', 'ants/2.jpg', 'bees/1.jpg'])), 0
    for n, folder in every_kill(tmp_path, lambda f: apply_steps(f, two), undo_steps):
        assert undo_steps(folder).left == [], n
        assert state(folder) == original, n
    assert n > 100

def test_without_hard_links(tmp_path, monkeypatch):
    "On a disk that knows none, the same holds"
    def none(*_, **__): raise OSError(95, 'Operation not supported')
    monkeypatch.setattr(os, 'link', none)
    folder = filled(tmp_path/'set')
    before = state(folder)
    assert apply_steps(folder, steps).moved == 4
    assert undo_steps(folder).moved == 4 and state(folder) == before

good = dict(what='quarantine', to=f'{quarantine}/ants/1.jpg', sha256='0'*64, mtime_ns=0, made=0) | {'from': 'ants/1.jpg'}
hostile = [
    {'from': '../x'}, {'from': '/etc/passwd'}, {'from': 'ants/../../x'}, {'from': '.git/hooks/post-checkout'}, {'from': ''}, {'from': 7},
    {'from': 'a\0b'}, {'to': '../x'}, {'to': f'{quarantine}/../../../x'}, {'to': '/tmp/x'}, {'to': '.quickcls/manifest.jsonl'},
    {'to': 'ants/2.jpg'}, {'to': f'{quarantine}/.ssh/x'}, {'what': 'relabel'}, {'what': 'delete'}, {'what': []}, {'sha256': 'zz'},
    {'sha256': int('1'*64)}, {'mtime_ns': 2**70}, {'made': -3}, {'mtime_ns': 'now'}]

@pytest.mark.parametrize('change', hostile, ids=str)
def test_manifest_of_a_stranger(tmp_path, change):
    "A line that names other places, or is damaged: one line of error, nothing is moved"
    folder = filled(tmp_path/'set', ['ants/1.jpg'])
    (tmp_path/'x').write_text('precious')
    (folder/quarantine/'ants').mkdir(parents=True)
    (folder/list_file).write_text(json.dumps(good | change) + '\n')
    before = state(tmp_path)
    for work in (undo_steps, lambda f: apply_steps(f, [Step('ants/1.jpg')]), kept_contents):
        with pytest.raises(QuickclsError, match='manifest.jsonl, line 1'): work(folder)
    assert state(tmp_path) == before

@pytest.mark.parametrize('text', [b'\xff\xfe\n', b'[' * 100_000 + b'\n', b'null\n', b'"x"\n', b'{}\n'])
def test_manifest_that_is_none(tmp_path, text):
    folder = filled(tmp_path/'set', ['ants/1.jpg'])
    (folder/'.quickcls').mkdir()
    (folder/list_file).write_bytes(text)
    with pytest.raises(QuickclsError, match='line 1'): undo_steps(folder)

@pytest.mark.parametrize('place', ['.quickcls', quarantine, list_file, f'{quarantine}/ants'])
def test_links_in_our_folder(tmp_path, place):
    "Nothing is written through a link that somebody put there"
    folder, other = filled(tmp_path/'set', ['ants/1.jpg', 'bees/2.jpg']), tmp_path/'other'
    other.mkdir()
    (folder/place).parent.mkdir(parents=True, exist_ok=True)
    (folder/place).symlink_to(other)
    if place.endswith('ants'): assert apply_steps(folder, [Step('ants/1.jpg')]).left == [('ants/1.jpg', 'its folder ants is a link')]
    else:
        with pytest.raises(QuickclsError, match='is a link'): apply_steps(folder, [Step('ants/1.jpg')])
    assert list(other.iterdir()) == [] and (folder/'ants/1.jpg').is_file()

def test_folder_becomes_a_link(tmp_path):
    "After the move, the class folder was replaced by a link to somewhere else: undo writes nothing there"
    folder, other = filled(tmp_path/'set', ['ants/1.jpg', 'bees/2.jpg']), tmp_path/'other'
    apply_steps(folder, [Step('ants/1.jpg')])
    (folder/'ants').rmdir()
    other.mkdir()
    (folder/'ants').symlink_to(other)
    assert undo_steps(folder).left == [(f'{quarantine}/ants/1.jpg', 'its folder ants is a link')] and list(other.iterdir()) == []

def test_read_only(tmp_path, monkeypatch):
    "An error in one line before anything is done (root may write everywhere, so the system's answer is played)"
    import tempfile
    folder = filled(tmp_path/'set')
    before = state(folder)
    def refuse(*_, **__): raise OSError(30, 'Read-only file system', str(folder))
    monkeypatch.setattr(tempfile, 'TemporaryDirectory', refuse)
    with pytest.raises(QuickclsError, match='read-only'): apply_steps(folder, steps)
    assert state(folder) == before

def test_a_full_disk_in_between(tmp_path, monkeypatch):
    "One image that cannot be moved costs only itself"
    folder, real = filled(tmp_path/'set'), os.link
    before = state(folder)
    def link(a, b):
        if Path(a).name == '2.jpg': raise PermissionError(13, 'Permission denied', str(a))
        real(a, b)
    monkeypatch.setattr(os, 'link', link)
    monkeypatch.setattr('shutil.copy2', link)
    done = apply_steps(folder, steps)
    assert done.moved == 3 and [p for p, _ in done.left] == ['train/ants/2.jpg']
    monkeypatch.undo()
    assert undo_steps(folder).moved == 3 and state(folder) == before

def test_what_is_quarantined_is_no_data(tmp_path):
    "No walk over the folder sees it"
    folder = filled(tmp_path/'set')
    apply_steps(folder, steps)
    assert not [n for n in named(folder) if 'quickcls' in n]
