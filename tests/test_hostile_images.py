"Image files that would crash a decoder, start a program, never end, or take all memory: each is used or named, and the work goes on"
import io, json, os, subprocess, sys, threading, time
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from quickcls.data import workers as pool
from quickcls.all import Classifier, train
from quickcls.data.decoding import Wanted, decode
from quickcls.data.formats import NotAnImage, open_image
from quickcls.data.images import load_image, small_image, upright_size
from quickcls.data.workers import ask_workers
from tests.helpers import as_bytes, flat_png, lossless_jpeg, image, repo, some_parts, write_folder

needs_fifo = pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no named pipes on this system')
needs_proc = pytest.mark.skipif(not Path('/proc/self/smaps_rollup').exists(), reason='no /proc to read memory from')

@pytest.fixture(scope='module')
def clf(tmp_path_factory):
    "A classifier of drawn parts"
    root = tmp_path_factory.mktemp('parts')
    return train(some_parts(root/'parts', slice(0, 24)), out=root/'model', arch='efficientnet_lite0', folds='0', no_images=True, quiet=True)

@pytest.fixture
def fresh_pool(monkeypatch):
    "A pool of workers for one test alone"
    monkeypatch.setitem(pool._pools, os.getpid(), mine := pool.Workers())
    yield mine
    mine.stop()

# a lossless JPEG: valid, and Pillow 12.3 crashes over it where it is asked for a part of its size

def test_a_lossless_jpeg_has_the_pixels_of_its_png():
    im = image(1, 900, 700).convert('L')
    for size in (224, 64): assert np.array_equal(load_image(lossless_jpeg(im), size), load_image(as_bytes(im, 'PNG'), size))

@pytest.mark.slow
def test_every_command_takes_a_lossless_jpeg(quickcls_process, clf, tmp_path):
    "In processes of their own: a crash would end them"
    folder = some_parts(tmp_path/'parts', slice(0, 12))
    odd = folder/'ok'/'lossless.jpg'
    odd.write_bytes(lossless_jpeg(image(3, 1200, 900)))
    trained = quickcls_process('train', folder, '--out', tmp_path/'m', '--arch', 'efficientnet_lite0', '--folds', '0', '--json')
    assert trained.returncode == 0 and json.loads(trained.stdout.splitlines()[-1])['skipped'] == [], trained.stderr
    for words in (
        ['predict', clf.path, odd],
        ['tag', clf.path, odd],
        ['explain', clf.path, odd, '--out', tmp_path / 'heat.png'],
        ['report', tmp_path / 'm'],
    ):
        p = quickcls_process(*words)
        assert p.returncode == 0, (words, p.stderr)

@pytest.mark.parametrize('marker', [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF])
def test_any_kind_of_frame_is_survived(marker):
    "The frame of a JPEG says that it is of another kind than it is: an answer or a reason, and no crash"
    data = as_bytes(image(1, 900, 700)).replace(b'\xff\xc0', bytes([0xff, marker]), 1)
    try: assert small_image(data, 50).size == (50, 39)
    except NotAnImage as e: assert 'crashed' not in str(e)

def test_a_frame_behind_filling_is_found():
    "What stands between segments is passed over by the decoder, so it may hide nothing here"
    from quickcls.data.formats import frame_of
    data = lossless_jpeg(image(1))
    assert frame_of(io.BytesIO(data[:2] + b'\xff\xff' + data[3:])) == 0xC3 == frame_of(io.BytesIO(data[:2] + b'\0\1\2' + data[2:]))
    assert frame_of(io.BytesIO(as_bytes(image(1))[:-2] + data[2:])) == 0xC0

# whatever else may crash or hang a decoder

crashing = """
import os, time, quickcls.data.workers as w
decode = w.decode
def guarded(source, *args):
    data = source if isinstance(source, bytes) else open(source, 'rb').read()
    if b'CRASH' in data: os.abort()
    if b'HANG' in data: time.sleep(100)
    return decode(source, *args)
w.decode = guarded
w.serve()
"""

def test_a_training_names_the_file_that_crashes_a_decoder_and_goes_on(fresh_pool, monkeypatch, tmp_path):
    monkeypatch.setattr(pool.Worker, 'program', crashing)
    folder = some_parts(tmp_path/'parts', slice(0, 8))
    bad = sorted((folder/'ok').iterdir())[2]
    bad.write_bytes(bad.read_bytes() + b'CRASH')
    clf = train(folder, out=tmp_path/'m', arch='efficientnet_lite0', folds='0', quiet=True)
    assert [(Path(s['path']).name, 'crashed' in s['reason']) for s in clf.run['skipped']] == [(bad.name, True)]
    answers = clf.predict([bad, sorted((folder/'ok').iterdir())[0]])
    assert 'crashed' in answers[0].error and answers[1].error is None

def test_a_file_that_takes_too_long_is_given_up(fresh_pool, monkeypatch):
    monkeypatch.setattr(pool.Worker, 'program', crashing)
    monkeypatch.setattr(pool, 'patience', 1)
    started = time.monotonic()
    with pytest.raises(NotAnImage, match='longer than 1 seconds'): load_image(as_bytes(image(1)) + b'HANG')
    assert time.monotonic() - started < 10 and load_image(as_bytes(image(1))).size == (224, 224)

def test_workers_that_end_for_another_reason_are_replaced(fresh_pool):
    "Killed while they wait, for instance where memory ran short: nobody notices"
    for _ in range(3):
        ask_workers(as_bytes(image(1)), Wanted())
        for w in list(fresh_pool.all): w.process.kill()
    assert upright_size(as_bytes(image(1))) == (64, 48)

def test_all_of_several_waiting_workers_may_end(fresh_pool):
    "No file is blamed for it: each of them is replaced"
    taken = [fresh_pool._take() for _ in range(3)]
    for w in taken: fresh_pool._give_back(w)
    for w in taken:
        w.process.kill()
        w.process.wait()
    for _ in range(3): assert upright_size(as_bytes(image(1))) == (64, 48)

def test_many_threads_get_their_own_answers(fresh_pool):
    from concurrent.futures import ThreadPoolExecutor
    files = [as_bytes(image(i, 40 + i, 30)) for i in range(60)]
    with ThreadPoolExecutor(12) as threads: assert list(threads.map(upright_size, files)) == [(40 + i, 30) for i in range(60)]
    assert len(fresh_pool.all) <= pool.most_workers

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this system')
def test_a_forked_process_has_workers_of_its_own():
    load_image(as_bytes(image(1)))
    if not (pid := os.fork()):
        ok = False
        try: ok = upright_size(as_bytes(image(2, 70, 30))) == (70, 30)
        finally: os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0 and upright_size(as_bytes(image(1))) == (64, 48)

def test_workers_end_with_the_program(python):
    "Also where it is killed"
    code = (
        'import os, signal, quickcls.data.workers as w; w.ask_workers(bytes.fromhex("%s"), w.Wanted()); '
        'print([p.process.pid for p in w.workers().all], flush=True); os.kill(os.getpid(), signal.%s)'
    )
    for ending in ('SIGKILL', 'SIGTERM'):
        p = python(code % (as_bytes(image(1)).hex(), ending), start=True)
        pids = json.loads(p.communicate(timeout=60)[0])
        until = time.monotonic() + 10
        while any(_runs(pid) for pid in pids) and time.monotonic() < until: time.sleep(.05)
        assert pids and not any(_runs(pid) for pid in pids)

def _runs(pid):
    try: return 'Z' not in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError: return False

def test_a_script_without_a_main_guard_is_not_run_twice(tmp_path):
    "A user's script is no module to import: workers never run it"
    (tmp_path/'a.png').write_bytes(as_bytes(image(1), 'PNG'))
    (tmp_path/'script.py').write_text('from quickcls.data.images import load_image\nprint(load_image("a.png").size)')
    p = subprocess.run(
        [sys.executable, 'script.py'], cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(repo)}, capture_output=True, text=True, timeout=60
    )
    assert (p.stdout, p.stderr) == ('(224, 224)\n', '')

# no program is started

def test_a_worker_can_start_nothing_and_write_nothing(python, tmp_path):
    code = """
import os, socket, subprocess, sys, quickcls.data.workers as w
w._confine()
done = []
acts = dict(
    run=lambda: subprocess.run(['true']), system=lambda: os.system('true'), fork=os.fork, write=lambda: open(sys.argv[1], 'w'),
    connect=lambda: socket.create_connection(('127.0.0.1', 1)), remove=lambda: os.remove(sys.argv[2]))
for name, act in acts.items():
    try: act()
    except PermissionError: continue
    done.append(name)
print(done)
"""
    (tmp_path/'there').touch()
    assert python(code, tmp_path/'new', tmp_path/'there').strip() == '[]' and (tmp_path/'there').exists()

@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    "A program `gs` that leaves a trace; function: was it started?"
    (tmp_path/'bin').mkdir()
    gs, trace = tmp_path/'bin'/'gs', tmp_path/'gs was started'
    gs.write_text(f'#!/bin/sh\ntouch "{trace}"\n')
    gs.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path/"bin"}{os.pathsep}{os.environ["PATH"]}')
    return trace.exists

def eps(): return as_bytes(image(1), 'EPS')

def test_postscript_under_the_name_of_a_photo_starts_nothing(ghostscript, quickcls_process, clf, tmp_path):
    folder = some_parts(tmp_path/'parts', slice(0, 8))
    (folder/'ok'/'photo.jpg').write_bytes(eps())
    p = quickcls_process('train', folder, '--out', tmp_path/'m', '--arch', 'efficientnet_lite0', '--folds', '0', '--json')
    skipped, = json.loads(p.stdout.splitlines()[-1])['skipped']
    assert skipped['path'].endswith('photo.jpg') and 'PostScript' in skipped['reason']
    for words in (['predict', clf.path], ['tag', clf.path], ['explain', clf.path]):
        p = quickcls_process(*words, folder/'ok'/'photo.jpg', cwd=tmp_path)
        assert p.returncode == 1 and 'PostScript' in p.stdout + p.stderr
    assert not ghostscript()

@pytest.mark.parametrize('format', ['EPS', 'PDF', 'ICO', 'TGA', 'PCX', 'SGI', 'DDS', 'JPEG2000', 'ICNS', 'DIB', 'IM'])
def test_other_formats_are_named_and_not_opened(format):
    try: data = as_bytes(image(1, 64, 64), format)
    except (OSError, KeyError, ValueError): pytest.skip(f'this Pillow writes no {format}')
    for ask in (open_image, load_image, lambda d: small_image(d, 20)):
        with pytest.raises(NotAnImage): ask(data)

@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'GIF', 'WEBP', 'BMP', 'TIFF', 'PPM', 'AVIF'])
def test_listed_formats_are_opened(format):
    try: data = as_bytes(image(1, 64, 48), format)
    except (OSError, KeyError): pytest.skip(f'this Pillow writes no {format}')
    assert upright_size(data) == (64, 48) and load_image(data).size == (224, 224)

# what is no file

@pytest.fixture
def odd_files(tmp_path):
    "Links to a device and to a pipe, a pipe, a socket: name → path"
    import socket
    folder = tmp_path/'odd'
    folder.mkdir()
    os.mkfifo(folder/'pipe.jpg')
    (folder/'zero.jpg').symlink_to('/dev/zero')
    (folder/'link.jpg').symlink_to(folder/'pipe.jpg')
    with socket.socket(socket.AF_UNIX) as s: s.bind(str(folder/'socket.jpg'))
    return folder

@needs_fifo
def test_devices_and_pipes_are_named_and_never_read(odd_files, quickcls_process, clf, tmp_path):
    folder = some_parts(tmp_path/'parts', slice(0, 8))
    for p in odd_files.iterdir(): (folder/'ok'/p.name).symlink_to(p)
    p = quickcls_process('train', folder, '--out', tmp_path/'m', '--arch', 'efficientnet_lite0', '--folds', '0', '--json')
    assert p.returncode == 0, p.stderr
    reasons = {Path(s['path']).name: s['reason'] for s in json.loads(p.stdout.splitlines()[-1])['skipped']}
    assert set(reasons) == {p.name for p in odd_files.iterdir()} and 'device' in reasons['zero.jpg'] and 'pipe' in reasons['link.jpg']
    p = quickcls_process('predict', clf.path, odd_files, '--json')
    assert p.returncode == 1 and all(json.loads(l)['error'] for l in p.stdout.splitlines()) and len(p.stdout.splitlines()) == 4
    for word in ('tag', 'explain'): assert quickcls_process(word, clf.path, odd_files/'zero.jpg', cwd=tmp_path).returncode == 1

@needs_fifo
def test_a_pipe_in_a_folder_is_named_too(odd_files, tmp_path):
    from quickcls.data.items import scan_folder
    folder = write_folder(tmp_path/'f', cat=3, dog=3)
    os.mkfifo(folder/'cat'/'pipe.jpg')
    assert [(Path(s.path).name, s.reason) for s in scan_folder(folder).skipped] == [('pipe.jpg', 'a named pipe, not a file')]

def test_a_file_is_sized_before_it_is_read(tmp_path):
    with open(tmp_path/'large.jpg', 'wb') as f: f.truncate(2**29 + 1) # takes no module on the disk
    with pytest.raises(NotAnImage, match='512 MB are refused'): load_image(tmp_path/'large.jpg')

# memory

def family_memory(pid):
    "MB of a process and all that it started, shared pages counted once"
    pids, total = [pid], 0
    for p in pids:
        for kids in Path(f'/proc/{p}/task').glob('*/children'):
            try: pids += map(int, kids.read_text().split())
            except OSError: continue
        try: total += next(int(l.split()[1]) for l in Path(f'/proc/{p}/smaps_rollup').read_text().splitlines() if l.startswith('Pss:'))
        except (OSError, StopIteration): continue
    return total/1024

@pytest.mark.slow
@needs_proc
def test_eight_images_of_89_megapixels_take_less_than_a_gigabyte_and_a_half(clf, python, tmp_path):
    paths = [tmp_path/f'{i}.png' for i in range(8)]
    data = flat_png(9400, 9500)
    for p in paths: p.write_bytes(data)
    code = (
        'import sys; from quickcls.model.classifier import Classifier; print([p.error for p in '
        'Classifier.load(sys.argv[1]).predict(sys.argv[2:])])'
    )
    p, peak = python(code, clf.path, *paths, start=True), 0
    while p.poll() is None:
        peak = max(peak, family_memory(p.pid))
        time.sleep(.02)
    assert p.communicate()[0].strip() == str([None]*8) and peak < 1500
    print(f'{peak:.0f} MB')

@pytest.mark.slow
@needs_proc
def test_a_page_survives_hostile_images_in_bounded_memory(clf, python):
    """Three of 89 megapixels at once, a lossless JPEG and a PostScript file: each has its answer, and an ordinary photo
    is answered afterwards"""
    import re
    from concurrent.futures import ThreadPoolExecutor
    httpx = pytest.importorskip('httpx', reason='no gradio')
    pytest.importorskip('gradio', reason='no gradio')
    p = python('import sys; from quickcls.cli import main; main()', 'demo', clf.path, start=True)
    try:
        url = re.search(r'http://127\.0\.0\.1:\d+', p.stdout.readline())[0]
        def answer(data):
            path = httpx.post(f'{url}/gradio_api/upload', files=dict(files=('photo.jpg', data)), timeout=60).json()[0]
            call = f'{url}/gradio_api/call/predict'
            event = httpx.post(call, json=dict(data=[dict(path=path, meta=dict(_type='gradio.FileData'))])).json()['event_id']
            return json.loads(re.search(r'event: complete\ndata: (.*)', httpx.get(f'{call}/{event}', timeout=120).text)[1])[0]
        bomb, photo, peak = flat_png(9400, 9500), as_bytes(image(2, 300, 200)), 0
        before = answer(photo)
        with ThreadPoolExecutor(3) as visitors:
            asked = [visitors.submit(answer, bomb) for _ in range(3)]
            while not all(a.done() for a in asked):
                peak = max(peak, family_memory(p.pid))
                time.sleep(.02)
        assert [a.result()['error'] for a in asked] == [None]*3 and peak < 1500
        assert answer(lossless_jpeg(image(2, 900, 600)))['error'] is None and 'PostScript' in answer(eps())['error']
        assert answer(photo) == before and p.poll() is None
        print(f'{peak:.0f} MB')
    finally:
        p.terminate()
        p.wait(20)

def test_memory_is_shared_out(fresh_pool):
    "No more than the budget is held at once, and one image may take all of it"
    held, most = [], []
    def work(n):
        with fresh_pool.memory(n):
            held.append(n)
            most.append(sum(held))
            time.sleep(.01)
            held.remove(n)
    threads = [threading.Thread(target=work, args=(n,)) for n in [pool.budget//3]*9]
    for t in threads: t.start()
    for t in threads: t.join(10)
    with fresh_pool.memory(10*pool.budget): assert fresh_pool.left == 0
    assert max(most) <= pool.budget and fresh_pool.left == pool.budget

@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'P', 'I;16', 'F', 'CMYK', '1'])
def test_a_large_image_looks_as_if_it_were_made_smaller_at_once(mode, monkeypatch):
    "Strip by strip, whatever its mode"
    from quickcls.data import decoding
    im = image(5, 640, 480)
    im = Image.fromarray((np.asarray(im.convert('L')).astype(np.uint16)*200)) if mode == 'I;16' else im.convert(mode)
    whole = np.asarray(decoding.as_shape(im, 1, Wanted('squish', 32)), float)
    monkeypatch.setattr(decoding, 'large', 1000)
    assert abs(np.asarray(decoding.as_shape(im, 1, Wanted('squish', 32)), float) - whole).mean() < 2

# a file that is replaced

def test_a_file_that_is_replaced_between_scan_and_pass_leaves_no_lie(tmp_path):
    "Its row would stand under the old content for good"
    from quickcls.features.embed import embed_items, read_items
    from quickcls.data.items import scan_folder
    from quickcls.features.store import Store, recipe_of, store_key
    from tests.helpers import MeanColour, tiny_graph
    folder, store, graph, engine = write_folder(tmp_path/'f', cat=4, dog=4), Store(tmp_path/'s.sqlite'), tiny_graph(), MeanColour()
    items = scan_folder(folder)
    old = items.table.sha256[0]
    Path(items.table.path[0]).write_bytes(as_bytes(Image.new('RGB', (24, 24), 'red'), 'PNG'))
    embed_items(items, graph, engine=engine, store=store)
    assert len(items) == 7 and 'changed' in items.skipped[0].reason
    assert store.missing([store_key(old, recipe_of(graph, engine.precision))]) # nothing was kept under the content that is gone
    items = scan_folder(folder)
    embed_items(items, graph, engine=engine, store=store)
    assert len(items) == 8 and np.allclose(read_items(items.table, graph, engine=engine, store=store)[0], (1, 0, 0), atol=.01)
