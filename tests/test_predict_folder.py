"Answers about a folder of images: the summary, the table, sorting and taking it back, watching, exit codes"
import csv, json, os, re, shutil, signal, threading, time
from pathlib import Path
import pytest
from quickcls.core import QuickclsError
from quickcls.model.prediction import Prediction
from quickcls.predict.sorting import Sorter, folder_names, undo
from quickcls.predict.summary import Summary
from quickcls.predict.table import open_table
from quickcls.predict.watching import arrivals
from tests.helpers import as_bytes, image, repo

shown = repo/'datasets'/'parts'

@pytest.fixture(scope='module')
def parts(drawn, tmp_path_factory):
    "A classifier with a decision"
    import quickcls.all # noqa: F401, adds `Classifier.decide`
    clf = drawn(tmp_path_factory.mktemp('folder'))
    clf.decide(max_miss='1/100', positive='defect')
    return clf

@pytest.fixture
def few(tmp_path):
    "A folder of 30 images, one of which cannot be read"
    folder = tmp_path/'new'
    folder.mkdir()
    for c in ('defect', 'ok'):
        for p in sorted((shown/c).iterdir())[:14]: shutil.copy(p, folder/f'{c}-{p.name}')
    (folder/'Hälfte.jpg').write_bytes(as_bytes(image(1)))
    (folder/'note.jpg').write_bytes(b'no image')
    return folder

def answer(path, said, label='ok'): return Prediction(str(path), [dict(label=label, probability=.9)], decision=said)

def contents(folder):
    "path below a folder → content"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}

# The summary and the table

def test_a_folder_ends_with_a_summary_that_counts_every_image(parts, few, quickcls):
    r = quickcls('predict', parts.path, few)
    assert r.returncode == 1 and 'note.jpg: ' in r.stdout and 'defect-001.jpg' not in r.stdout
    rows = dict(re.findall(r'^(\S.*?) +(\d+) +[\d.]+%', r.stdout, re.M))
    assert sum(map(int, rows.values())) == 30 and {'defect', 'ok', 'unreadable'} <= set(rows)

def test_verbose_gives_every_line_and_json_keeps_the_summary_off_standard_output(parts, few, quickcls):
    lines = quickcls('predict', parts.path, few, '--verbose').stdout
    assert all(p.name in lines for p in few.iterdir())
    r = quickcls('predict', parts.path, few, '--json')
    answers = [json.loads(line) for line in r.stdout.splitlines()]
    assert len(answers) == 30 and all('decision' in a for a in answers) and 'unreadable' in r.stderr

def test_the_table_opens_in_a_spreadsheet_and_has_the_decisions(parts, few, tmp_path, quickcls):
    file = tmp_path/'a.csv'
    quickcls('predict', parts.path, few, '--csv', file)
    assert file.read_bytes().startswith(b'\xef\xbb\xbf')
    with open(file, newline='', encoding='utf-8-sig') as f: rows = list(csv.DictReader(f))
    said = {Path(r['path']).name: r['decision'] for r in rows}
    assert len(rows) == 30 and 'Hälfte.jpg' in said and said['note.jpg'] == ''
    assert set(said.values()) <= {'defect', 'ok', 'look_at_it', 'none_of_these', ''}

def test_a_table_is_replaced_only_on_request_and_a_photo_never(parts, few, tmp_path, quickcls):
    file = tmp_path/'a.csv'
    file.write_text('path,label\nmine,1\n')
    r = quickcls('predict', parts.path, few, '--csv', file)
    assert r.returncode == 1 and '--force' in r.stderr and 'mine' in file.read_text() # before anything is loaded
    assert quickcls('predict', parts.path, few, '--csv', file, '--force').returncode == 1 and 'mine' not in file.read_text()
    photo = few/'ok-001.jpg'
    before = photo.read_bytes()
    assert '--csv' in quickcls('predict', parts.path, few, '--csv', photo, '--force').stderr and photo.read_bytes() == before

def test_far_more_looks_than_expected_are_said():
    from quickcls.decide.decision import Decision
    expected = dict(on='x', classes={c: dict(n=100, right=95, wrong=0, asked=5) for c in ('ok', 'defect')})
    s = Summary(Decision(dict(ok=.9, defect=.9), dict(kind='sure', sure=.9), expected))
    for i in range(60): s.add(answer(i, 'look_at_it' if i < 3 else 'ok'))
    assert not [t for t in s.lines() if t.startswith('note')]
    for i in range(60): s.add(answer(i, 'look_at_it'))
    assert [t for t in s.lines() if t.startswith('note') and '5%' in t]

def test_a_thousand_classes_fit_on_a_screen():
    s = Summary()
    for i in range(1000): s.add(Prediction('x', [dict(label=f'class {i}', probability=.9)]))
    assert len(s.lines()) < 30 and '980 other classes' in '\n'.join(s.lines())

def test_classes_called_as_a_decision_are_counted_as_classes():
    s = Summary()
    for c in ('look_at_it', 'none_of_these', 'unreadable'): s.add(Prediction('x', [dict(label=c, probability=.9)]))
    s.add(Prediction('y', [dict(label='unreadable', probability=.2)], unknown=True))
    assert [r[1] for r in s.rows()] == [1]*4 and s.count('none_of_these') == 1 and s.count('unreadable') == s.count('look_at_it') == 0

# Exit codes

def test_a_script_fails_on_the_decision_it_names(parts, few, quickcls):
    def code(*words): return quickcls('predict', parts.path, *words).returncode
    good = few/'ok-001.jpg'
    assert [code(good), code(good, '--fail-on', 'defect'), code(good, '--fail-on', 'defect,ok')] == [0, 0, 3]
    assert code(few/'note.jpg', '--fail-on', 'defect') == 1 and code(few/'note.jpg', '--fail-on', 'unreadable') == 3
    wrong = quickcls('predict', parts.path, good, '--fail-on', 'Defekt')
    assert wrong.returncode == 1 and 'Did you mean defect?' in wrong.stderr

def test_a_person_is_asked_only_where_a_decision_is_saved(drawn, tmp_path, few, quickcls):
    r = quickcls('predict', drawn(tmp_path).path, few, '--fail-on', 'look_at_it')
    assert r.returncode == 1 and 'quickcls decide' in r.stderr

@pytest.mark.parametrize('words, said', [
    (['--move'], '--sort-into'), (['--force'], '--csv'), (['--json', '--verbose'], '--verbose'), (['--top', '0'], 'top')])
def test_options_that_would_do_nothing_are_told(parts, few, quickcls, words, said):
    r = quickcls('predict', parts.path, few, *words)
    assert r.returncode == 1 and said in r.stderr

# Sorting, and back

@pytest.mark.parametrize('move', [False, True])
def test_sorted_by_decision_and_taken_back(parts, few, tmp_path, quickcls, move):
    before, answers = contents(few), map(json.loads, quickcls('predict', parts.path, few, '--json').stdout.splitlines())
    said = {Path(a['path']).name: a['decision'] for a in answers}
    r = quickcls('predict', parts.path, few, '--sort-into', tmp_path/'sorted', *(['--move'] if move else []))
    there = contents(tmp_path/'sorted')
    assert len(there) == 30 and len(contents(few)) == (1 if move else 30) # the unreadable one stays; the list is there
    if not move: assert all((tmp_path/'sorted'/d/n).is_file() for n, d in said.items() if d)
    left = sum(p.parent.name in ('look_at_it', 'none_of_these') for p in (tmp_path/'sorted').rglob('*.jpg'))
    assert f'left for a person: {left} ' in r.stdout or not left
    assert quickcls('undo', tmp_path/'sorted').returncode == 0
    assert contents(few) == before and not (tmp_path/'sorted').exists()

def test_names_that_clash_do_not_overwrite(tmp_path):
    for n in 'abc':
        (tmp_path/n).mkdir()
        (tmp_path/n/'1.jpg').write_text(n)
    with Sorter(tmp_path/'sorted', ['ok']) as s:
        for n in 'abc': s.take(answer(tmp_path/n/'1.jpg', 'ok'))
    assert sorted(p.read_text() for p in (tmp_path/'sorted'/'ok').iterdir()) == list('abc')

def test_no_class_name_leads_out_of_the_folder(tmp_path):
    hard = ['../x', '/etc', 'a/b', 'a:b', '.', '..', '', '.git', 'look_at_it', 'none_of_these', 'sorted.jsonl',
            'CON', 'é'*300, '\udcff', 'x\n']
    names = folder_names(hard)
    assert len({n.casefold() for n in [*names.values(), 'look_at_it', 'none_of_these', 'sorted.jsonl']}) == len(hard) + 3
    (tmp_path/'1.jpg').write_text('1')
    for i, c in enumerate(hard):
        with Sorter(tmp_path/f's{i}', hard) as s: s.take(Prediction(str(tmp_path/'1.jpg'), [dict(label=c, probability=1.)]))
        assert s.sorted == 1 and s.asked == 0 and [p.parent for p in (tmp_path/f's{i}').rglob('1.jpg')] == [tmp_path/f's{i}'/names[c]]

def test_a_link_is_neither_moved_nor_followed(tmp_path):
    (tmp_path/'real.jpg').write_text('1')
    (tmp_path/'link.jpg').symlink_to(tmp_path/'real.jpg')
    (tmp_path/'away').mkdir()
    with Sorter(tmp_path/'sorted', ['ok'], move=True) as s: s.take(answer(tmp_path/'link.jpg', 'ok'))
    assert (tmp_path/'link.jpg').is_symlink() and len(s.left) == 1
    (tmp_path/'sorted'/'ok').symlink_to(tmp_path/'away')
    with Sorter(tmp_path/'sorted', ['ok'], move=True) as s: s.take(answer(tmp_path/'real.jpg', 'ok'))
    assert (tmp_path/'real.jpg').is_file() and not list((tmp_path/'away').iterdir())
    (tmp_path/'elsewhere').symlink_to(tmp_path/'away')
    with pytest.raises(QuickclsError, match='link'): Sorter(tmp_path/'elsewhere', ['ok'])

def test_a_folder_of_something_else_is_not_sorted_into(parts, few, tmp_path, quickcls):
    for target in (few, few/'ok-001.jpg', parts.path):
        r = quickcls('predict', parts.path, few, '--sort-into', target)
        assert r.returncode == 1 and '--sort-into' in r.stderr
    assert len(contents(few)) == 30

def test_a_folder_inside_that_of_the_images_is_left_out_of_them(parts, few, quickcls):
    for _ in range(2): quickcls('predict', parts.path, few, '--sort-into', few/'sorted')
    assert len(list((few/'sorted').rglob('*.jpg'))) == 29

@pytest.mark.parametrize('move', [False, True])
def test_an_interrupted_run_can_be_continued_and_taken_back(tmp_path, move):
    images = [tmp_path/'in'/f'{i}.jpg' for i in range(4)]
    images[0].parent.mkdir()
    for p in images: p.write_text(p.name)
    before = contents(tmp_path/'in')
    with Sorter(tmp_path/'sorted', ['ok'], move) as s:
        for p in images[:2]: s.take(answer(p, 'ok'))
    row = dict(zip(('from', 'to', 'how', 'sha256'), (str(images[2]), 'ok/2.jpg', 'move' if move else 'copy', '0'*64)))
    with open(s.folder/'sorted.jsonl', 'a') as f: f.write(json.dumps(row) + '\n' + json.dumps(row)[:30]) # killed: written down, not done
    with Sorter(tmp_path/'sorted', ['ok'], move) as s:
        for p in images if not move else images[2:]: s.take(answer(p, 'ok'))
    assert (s.sorted, s.before) == (2, 0 if move else 2) and len(list((tmp_path/'sorted'/'ok').iterdir())) == 4
    assert undo(tmp_path/'sorted') == 0 and contents(tmp_path/'in') == before and not (tmp_path/'sorted').exists()

def test_the_same_image_again_is_moved_again_and_a_half_done_move_is_finished(tmp_path):
    with Sorter(tmp_path/'sorted', ['ok'], move=True) as s:
        for _ in range(2):
            (tmp_path/'1.jpg').write_text('1')
            s.take(answer(tmp_path/'1.jpg', 'ok'))
    there = tmp_path/'sorted'/'ok'
    assert not (tmp_path/'1.jpg').exists() and {p.name for p in there.iterdir()} == {'1.jpg', '1-2.jpg'}
    os.link(there/'1-2.jpg', tmp_path/'1.jpg') # killed between the two steps of a move
    with Sorter(tmp_path/'sorted', ['ok'], move=True) as s: s.take(answer(tmp_path/'1.jpg', 'ok'))
    assert not (tmp_path/'1.jpg').exists() and len(list(there.iterdir())) == 2

def test_what_a_person_changed_stays(tmp_path, capsys):
    for n in '12345': (tmp_path/f'{n}.jpg').write_text(n)
    with Sorter(tmp_path/'copied', ['ok']) as s:
        for n in '12': s.take(answer(tmp_path/f'{n}.jpg', 'ok'))
    (tmp_path/'copied'/'ok'/'1.jpg').write_text('drawn on')
    assert undo(tmp_path/'copied') == 1 and [p.name for p in (tmp_path/'copied'/'ok').iterdir()] == ['1.jpg']
    with Sorter(tmp_path/'moved', ['ok'], move=True) as s:
        for n in '345': s.take(answer(tmp_path/f'{n}.jpg', 'look_at_it'))
    (tmp_path/'moved'/'look_at_it'/'3.jpg').rename(tmp_path/'moved'/'by hand.jpg')
    (tmp_path/'4.jpg').write_text('another')
    assert undo(tmp_path/'moved') == 1 and (tmp_path/'5.jpg').read_text() == '5' and (tmp_path/'4.jpg').read_text() == 'another'
    assert (tmp_path/'moved'/'look_at_it'/'4.jpg').read_text() == '4' and '4.jpg' in capsys.readouterr().out

@pytest.mark.parametrize('row', [
    {'to': '../victim.jpg'}, {'to': 'ok/../../victim.jpg'}, {'to': '/victim.jpg'}, {'from': 'relative.jpg'}, {'how': 'burn'}, {'to': 7}])
def test_a_list_that_leads_out_is_refused(tmp_path, row):
    (tmp_path/'1.jpg').write_text('1')
    (tmp_path/'victim.jpg').write_text('mine')
    with Sorter(tmp_path/'sorted', ['ok']) as s: s.take(answer(tmp_path/'1.jpg', 'ok'))
    good = {'from': str(tmp_path/'x.jpg'), 'to': 'ok/1.jpg', 'how': 'move', 'sha256': '0'*64}
    with open(s.folder/'sorted.jsonl', 'a') as f: f.write(json.dumps(good | row) + '\n')
    with pytest.raises(QuickclsError, match='list'): undo(tmp_path/'sorted')
    assert (tmp_path/'victim.jpg').read_text() == 'mine'

def test_a_folder_that_was_copied_from_elsewhere_moves_nothing(tmp_path):
    (tmp_path/'1.jpg').write_text('1')
    with Sorter(tmp_path/'sorted', ['ok'], move=True) as s: s.take(answer(tmp_path/'1.jpg', 'ok'))
    shutil.copytree(tmp_path/'sorted', tmp_path/'gift')
    with pytest.raises(QuickclsError, match='another folder'): undo(tmp_path/'gift')
    assert undo(tmp_path/'sorted') == 0

# A watched folder

def test_a_file_that_grows_is_not_answered_and_one_that_is_replaced_is_answered_again(tmp_path):
    a = tmp_path/'a.jpg'
    steps = iter([lambda: a.write_text('1'), lambda: a.write_text('12'), lambda: None, lambda: None, lambda: a.write_text('123'),
                  lambda: (tmp_path/'b.jpg.part').write_text('1'), lambda: None])
    looks = arrivals(tmp_path, sleep=lambda s: next(steps)())
    assert [[p.name for p in next(looks)] for _ in range(8)] == [[], [], [], ['a.jpg'], [], [], ['a.jpg'], []]

def test_a_folder_that_goes_is_waited_for(tmp_path):
    folder, said = tmp_path/'in', []
    folder.mkdir()
    steps = iter([folder.rmdir, lambda: None, folder.mkdir, lambda: (folder/'a.jpg').write_text('1'), lambda: None])
    looks = arrivals(folder, say=said.append, sleep=lambda s: next(steps)())
    assert [[p.name for p in next(looks)] for _ in range(4)][-1] == ['a.jpg'] and len(said) == 2

def watched(parts, few, tmp_path, python):
    "A running `quickcls predict --watch`"
    words = ['predict', str(parts.path), str(few), '--watch', '--csv', str(tmp_path/'log.csv'), '--fail-on', 'defect']
    return python('import sys; from quickcls.cli import main; sys.exit(main(sys.argv[1:]))', *words, start=True)

def rows_of(file):
    "Names of images in a table"
    if not file.exists(): return []
    with open(file, newline='', encoding='utf-8-sig') as f: return [Path(r['path']).name for r in csv.DictReader(f)]

def wait(until, seconds=90):
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end: time.sleep(.1)
    assert until()

@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_watching_answers_what_arrives_logs_it_once_and_ends_cleanly(parts, tmp_path, python):
    few, log = tmp_path/'in', tmp_path/'log.csv'
    few.mkdir()
    shutil.copy(shown/'ok'/'001.jpg', few/'1.jpg')
    for i in (2, 3): # the second watch goes on with the same table
        p = watched(parts, few, tmp_path, python)
        threading.Timer(120, p.kill).start()
        wait(lambda: len(rows_of(log)) == i - 1)
        shutil.copy(shown/('ok' if i == 2 else 'defect')/f'00{i}.jpg', few/f'{i}.jpg')
        wait(lambda: len(rows_of(log)) == i)
        time.sleep(1) # its row is written before its line is printed
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=30)
        assert p.returncode == (0 if i == 2 else 3) and 'Traceback' not in err and f'{i}.jpg' in out
    assert rows_of(log) == ['1.jpg', '2.jpg', '3.jpg'] and log.read_bytes().count(b'\xef\xbb\xbf') == 1

def test_a_table_with_other_columns_is_not_added_to(tmp_path):
    with open_table(tmp_path/'a.csv', 3, append=True) as write: write(answer('a.jpg', 'ok'))
    with pytest.raises(QuickclsError, match='top='): open_table(tmp_path/'a.csv', 2, append=True).__enter__()
