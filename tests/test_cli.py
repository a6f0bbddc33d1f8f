"What a person at a terminal is promised"
import csv, json, os, re, subprocess, sys
from pathlib import Path
import pytest
from PIL import Image
from tests.helpers import image, repo, write_folder

parts, defect = repo/'datasets'/'parts', repo/'docs'/'parts'/'defect.jpg'
lite0 = ('--arch', 'efficientnet_lite0')

@pytest.fixture(scope='session')
def trained(quickcls, tmp_path_factory):
    "(folder of a classifier, the finished training)"
    out = tmp_path_factory.mktemp('models')/'parts'
    return out, quickcls('train', parts, *lite0, '--out', out, '--json')

def refused(p, *texts, code=1):
    "One line that says `texts`, no traceback, the exit code of a failure"
    assert p.returncode == code and 'Traceback' not in p.stderr, p.stderr
    line, = p.stderr.strip().splitlines()
    for t in texts: assert t in line, line

def test_training_writes_the_whole_folder(trained):
    out, p = trained
    assert p.returncode == 0, p.stderr
    assert {f.name for f in out.iterdir()} == {
        'model.onnx',
        'classifier.json',
        'weights.safetensors',
        'confusion_matrix.png',
        'confusion_matrix.csv',
        'predictions.csv',
        'metrics.json',
        'cross_validation.csv',
        'neighbours.csv',
        'report.html',
        'README.md',
        'focus.json',
    }
    assert not list(out.parent.glob('.*')) # nothing half-written stays
    rows = list(csv.DictReader(open(out/'predictions.csv')))
    assert len(rows) == 240 and {'path', 'label', 'predicted', 'split', 'loss', 'p_defect', 'p_ok'} <= set(rows[0])
    assert all(abs(float(r['p_defect']) + float(r['p_ok']) - 1) < 1e-4 for r in rows)
    assert Image.open(out/'confusion_matrix.png').width > 400

def test_the_default_run_on_parts_is_neither_trivial_nor_hopeless(trained):
    assert .90 <= json.loads(trained[1].stdout.splitlines()[-1])['accuracy'] <= .99

def test_json_is_the_last_line_and_tells_the_run(trained):
    d = json.loads(trained[1].stdout.splitlines()[-1])
    assert (
        d['n_train'] + d['n_valid'] == 240 == d['embedded'] + d['from_store'] and d['arch'] == 'efficientnet_lite0' and d['skipped'] == []
    )
    low, high = d['interval']
    assert low < d['accuracy'] < high
    assert {'scan', 'embed', 'head', 'check', 'evaluate', 'focus', 'save', 'total'} == set(d['seconds'])
    rows = [r for r in csv.DictReader(open(trained[0]/'predictions.csv')) if r['split'] == 'valid']
    assert sum(r['label'] == r['predicted'] for r in rows)/len(rows) == pytest.approx(d['accuracy'], abs=1e-6)

def test_text_tells_classes_accuracy_and_what_next(trained):
    text = trained[1].stdout
    for t in ('240 images', '2 classes', 'defect 120', 'expect ', 'precision', f'quickcls predict {trained[0]}'):
        assert t in text.replace('\xa0', ' '), t


def test_a_classifier_is_not_overwritten_unless_forced(quickcls_process, trained):
    refused(quickcls_process('train', parts, *lite0, '--out', trained[0]), str(trained[0]), '--force', '--out')

def test_a_second_run_embeds_nothing_and_gives_the_same(quickcls, trained):
    before = json.loads((trained[0]/'metrics.json').read_text())
    d = json.loads(quickcls('train', parts, *lite0, '--out', trained[0], '--force', '--json').stdout.splitlines()[-1])
    assert (d['embedded'], d['from_store']) == (0, 240) and d['accuracy'] == before['accuracy']

def test_predict_one_many_and_bad_ones(quickcls, quickcls_process, trained, tmp_path):
    "One line an image; a bad one has an error and the run goes on"
    (tmp_path / 'a.jpg?w=9').write_bytes(defect.read_bytes())
    (tmp_path / 'b.jpg').write_text('<html>404</html>')
    (tmp_path / 'c.jpg').write_bytes((repo / 'docs' / 'parts' / 'ok.jpg').read_bytes())
    p = quickcls_process('predict', trained[0], defect)
    assert 'defect' in p.stdout.splitlines()[0] and '%' in p.stdout and (p.returncode, p.stderr) == (0, '')
    lines = [json.loads(l) for l in quickcls('predict', trained[0], tmp_path, '--json').stdout.splitlines()]
    assert [Path(l['path']).name for l in lines] == ['a.jpg?w=9', 'b.jpg', 'c.jpg'] and all(
        set(l) == {'path', 'top', 'unknown', 'unusual', 'known_score', 'nearest', 'error', 'decision'} for l in lines
    )
    assert (
        lines[0]['top'][0]['label'] == 'defect'
        and lines[2]['top'][0]['label'] == 'ok'
        and lines[1]
        == dict(path=str(tmp_path / 'b.jpg'), top=[], unknown=None, unusual=None, known_score=None, nearest=None,
                error='an HTML page, not an image', decision=None)
    )
    by_pattern = [json.loads(l) for l in quickcls('predict', trained[0], str(tmp_path/'*.jpg'), '--json').stdout.splitlines()]
    assert [Path(l['path']).name for l in by_pattern] == ['b.jpg', 'c.jpg']
    p = quickcls('predict', trained[0], tmp_path, '--csv', tmp_path/'answers.csv')
    rows = list(csv.DictReader(open(tmp_path/'answers.csv', encoding='utf-8-sig')))
    assert [r['label'] for r in rows] == ['defect', '', 'ok'] and rows[1]['error'] and 'unreadable' in p.stdout
    gone = quickcls('predict', trained[0], tmp_path/'gone.jpg', defect, '--json')
    assert (
        gone.returncode == 1 and json.loads(gone.stdout.splitlines()[0])['error'] and not json.loads(gone.stdout.splitlines()[1])['error']
    )


def test_predict_imports_neither_torch_nor_fastai_nor_pandas(python, trained):
    code = (
        'import sys; from quickcls.cli import main; main(["predict", *sys.argv[1:]]); '
        'print(sorted({"torch", "fastai", "pandas", "sklearn", "matplotlib", "timm"} & '
        'set(sys.modules)))'
    )
    assert python(code, trained[0], defect).splitlines()[-1] == '[]'

def test_predict_imports_no_converter_of_openvino(python, trained):
    "It takes longer than the rest of OpenVINO; who imports OpenVINO in Python has it"
    code = 'import sys; from quickcls.cli import main; main(["predict", *sys.argv[1:]]); print(sys.modules.get("openvino.tools.ovc"))'
    assert python(code, trained[0], defect).splitlines()[-1] == 'None'
    code = 'from quickcls.core import import_openvino; print(callable(import_openvino().convert_model))'
    assert python(code).splitlines()[-1] == 'True'

def test_training_with_the_linear_head_imports_no_torch(python, trained):
    "Once its graph is there, a default run needs neither torch nor fastai"
    code = (
        'import sys; from quickcls.cli import main; main(["train", *sys.argv[1:]]); '
        'print(sorted({"torch", "fastai", "timm"} & set(sys.modules)))'
    )
    assert python(code, parts, *lite0, '--out', trained[0], '--force').splitlines()[-1] == '[]'

def test_clear_ends(quickcls, trained, tmp_path):
    "What was found, what was expected, what to do: one line, exit code 1"
    write_folder(tmp_path / 'one', cat=3)
    (tmp_path / 'none' / 'cat').mkdir(parents=True)
    write_folder(tmp_path / 'singles', cat=1, dog=1)
    out = ('--out', tmp_path/'out')
    refused(quickcls('train', tmp_path/'nowhere', *out), str(tmp_path/'nowhere'))
    refused(quickcls('train', tmp_path/'none', *out), 'none/<class>/<image>')
    refused(quickcls('train', tmp_path/'one', *out), "'cat'", '3 images')
    refused(quickcls('train', tmp_path/'singles', *out), 'single')
    refused(quickcls('train', parts, '--arch', 'resnet43', *out), "'resnet43'", 'resnet34')
    refused(quickcls('train', parts, '--arch', 'vit_base', *out), 'vit_base', '--weights')
    refused(quickcls('train', parts, '--arch', 'resnet18', '--weights', tmp_path/'no.pth', *out), str(tmp_path/'no.pth'))
    refused(quickcls('train', parts, '--head', 'forest', *out), "'forest'", 'linear', 'ridge', 'svm', 'fastai', 'mlp:N')
    refused(quickcls('train', parts, '--valid-pct', '300', *out), '--valid-pct', '300', '30%')
    refused(quickcls('train', parts, '--resize', 'stretch', *out), 'squish', 'crop', 'pad')
    refused(quickcls('train', parts, *lite0, '--out', defect/'x'), 'defect.jpg')
    refused(quickcls('predict', tmp_path/'one', defect), str(tmp_path/'one'), 'classifier.json')
    refused(quickcls('predict', trained[0]), 'quickcls predict')
    assert not (tmp_path/'out').exists()

def test_force_replaces_classifiers_only(quickcls, tmp_path):
    "Photographs, or any other folder, are never deleted"
    root = write_folder(tmp_path/'models'/'pets', cat=4, dog=4)
    before = sorted(root.rglob('*'))
    for words in (
        ('--out', root),
        ('--out', root.parent),
        ('--out', root / 'cat' / 'new'),
        (),
    ):  # without `--out` it is models/pets, the photographs themselves
        refused(quickcls('train', root, *lite0, *words, '--force', cwd=tmp_path), 'inside')
    (tmp_path / 'diary').mkdir()
    (tmp_path / 'diary' / 'today.txt').touch()
    refused(quickcls('train', root, *lite0, '--out', tmp_path/'diary', '--force'), str(tmp_path/'diary'), '--out')
    assert sorted(root.rglob('*')) == before and (tmp_path/'diary'/'today.txt').exists()

def test_names_that_are_no_text(quickcls_process, trained, tmp_path):
    "File names that are not UTF-8, as old archives have them: the run saves; a class folder named so is skipped by name"
    root = write_folder(tmp_path/'set', cat=6, dog=6)
    bad = os.fsencode(root)
    try:
        os.rename(bad + b'/cat/000.png', bad + b'/cat/ph\xe9to.png')
        os.mkdir(bad + b'/caf\xe9')
        os.link(bad + b'/dog/000.png', bad + b'/caf\xe9/a.png')
    except OSError:
        pytest.skip('this file system takes UTF-8 names only')
    p = quickcls_process('train', root, *lite0, '--out', tmp_path/'out', '--json')
    assert p.returncode == 0 and 'UTF-8' in p.stdout, p.stderr
    assert quickcls_process('predict', trained[0], root/'cat', '--csv', tmp_path/'a.csv').returncode == 0

def test_nothing_to_predict_is_said(quickcls, trained, tmp_path):
    refused(quickcls('predict', trained[0], str(tmp_path/'no*.jpg')), 'no*.jpg')
    refused(quickcls('predict', trained[0], tmp_path), str(tmp_path))

def test_seeds_out_of_range(quickcls, tmp_path):
    refused(quickcls('train', parts, '--seed', '-1', '--out', tmp_path/'out'), 'seed', '-1')

def test_importing_calls_nobody(python, tmp_path, monkeypatch):
    "OpenVINO's telemetry stays out: no folder in the user's home"
    monkeypatch.setenv('HOME', str(tmp_path))
    python('from quickcls.core import import_openvino; import_openvino()')
    assert not list(tmp_path.iterdir())

def test_wrong_calls_end_with_2(quickcls, quickcls_process):
    p = quickcls_process('tran', 'pets')
    assert p.returncode == 2 and 'train?' in p.stderr
    assert quickcls('train').returncode == 2 and quickcls('train', parts, '--epochs', 'ten').returncode == 2

def test_debug_shows_the_traceback(quickcls, tmp_path):
    assert 'Traceback' in quickcls('train', tmp_path/'nowhere', '--debug').stderr

def test_an_unforeseen_error_is_one_line_too(quickcls, tmp_path):
    "A cache folder that holds a folder where the store should be"
    (tmp_path/'embeddings.sqlite').mkdir()
    refused(quickcls('train', parts, *lite0, '--out', tmp_path/'out', QUICKCLS_CACHE=str(tmp_path)), 'embeddings.sqlite')

def full_disk(path, kb):
    "A disk of `kb` kilobytes at `path`, or a skip where none can be made"
    path.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={kb}k', 'none', path], capture_output=True).returncode:
        pytest.skip('no small disk can be mounted here')


def test_a_full_disk_leaves_nothing_half_written(quickcls_process, tmp_path):
    full_disk(tmp_path/'disk', 3000) # the classifier needs fifteen megabytes
    try:
        refused(quickcls_process('train', parts, *lite0, '--out', tmp_path/'disk'/'parts'), 'disk is full')
        assert not list((tmp_path/'disk').iterdir())
        refused(quickcls_process('train', parts, *lite0, '--out', tmp_path/'out', QUICKCLS_CACHE=str(tmp_path/'disk')), 'disk')
    finally: subprocess.run(['umount', tmp_path/'disk'])

def test_one_image_of_a_class_is_kept_in_training_and_said(quickcls, tmp_path):
    write_folder(tmp_path/'few', cat=8, dog=8, rare=1)
    p = quickcls('train', tmp_path/'few', *lite0, '--out', tmp_path/'out')
    assert p.returncode == 0 and re.search('rare.* single image', p.stdout)
    assert 'rare' in json.loads((tmp_path/'out'/'classifier.json').read_text())['vocab']

def test_a_messy_folder_trains_and_every_bad_file_is_named(quickcls, messy_folder, tmp_path):
    p = quickcls('train', messy_folder.root, *lite0, '--out', tmp_path/'out', '--json')
    assert p.returncode == 0, p.stderr
    skipped = {Path(s['path']).name: s['reason'] for s in json.loads(p.stdout.splitlines()[-1])['skipped']}
    assert skipped.items() >= messy_folder.bad.items() and set(skipped) == set(messy_folder.bad) | messy_folder.broken
    assert sum(1 for _ in csv.DictReader(open(tmp_path/'out'/'predictions.csv'))) == len(messy_folder.good) - len(messy_folder.broken)

@pytest.mark.slow
def test_kill_and_run_again(quickcls, graphs_of, tmp_path):
    "After `kill -9` in the middle of the pass, the next run finishes and computes only what was not committed"
    import signal, sqlite3, time

    for i in range(400):
        (tmp_path / 'set' / str(i % 2)).mkdir(parents=True, exist_ok=True)
        image(i, 600, 500).save(tmp_path / 'set' / str(i % 2) / f'{i}.png')
    with graphs_of(lite0[1], tmp_path/'own-cache') as cache: env = dict(os.environ, QUICKCLS_CACHE=str(cache), PYTHONPATH=str(repo))
    words = ['train', str(tmp_path/'set'), *lite0, '--out', str(tmp_path/'out'), '--json']
    p = subprocess.Popen(
        [sys.executable, '-c', 'from quickcls.cli import main; main()', *words], cwd=repo, env=env, stdout=subprocess.DEVNULL
    )

    def kept():
        try: return sqlite3.connect(cache/'embeddings.sqlite').execute('select count(*) from embeddings').fetchone()[0]
        except sqlite3.OperationalError: return 0
    while kept() < 64 and p.poll() is None: time.sleep(.01)
    p.send_signal(signal.SIGKILL)
    p.wait()
    n = kept()
    assert 64 <= n < 400 and not (tmp_path/'out').exists()
    d = json.loads(quickcls(*words, QUICKCLS_CACHE=str(cache)).stdout.splitlines()[-1])
    assert (d['from_store'], d['embedded']) == (n, 400 - n)

@pytest.mark.slow
@pytest.mark.parametrize('exported', [True, False])
def test_two_runs_at_once_both_finish(graphs_of, tmp_path, exported):
    "Of one folder, into one store; exporting one graph"
    if exported:
        with graphs_of(lite0[1], tmp_path/'cache'): pass
    env = dict(os.environ, PYTHONPATH=str(repo), QUICKCLS_CACHE=str(tmp_path/'cache'))
    start = lambda i: subprocess.Popen(
        [
            sys.executable,
            '-c',
            'import sys; from quickcls.cli import main; sys.exit(main())',
            'train',
            str(parts),
            *lite0,
            '--out',
            str(tmp_path / str(i)),
            '--json',
        ],
        cwd=repo,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    a, b = (json.loads(p.communicate(timeout=300)[0].splitlines()[-1]) for p in [start(0), start(1)])
    assert a['accuracy'] == b['accuracy'] and a['n_valid'] == b['n_valid']

def test_weights_from_a_file(quickcls, tmp_path):
    "`--weights FILE`: the classifier keeps those parameters, and opens without the file"
    import torch, timm
    torch.manual_seed(1)
    torch.save(timm.create_model('resnet18').state_dict(), tmp_path/'w.pth')
    write_folder(tmp_path/'set', a=6, b=6)
    p = quickcls('train', tmp_path/'set', '--arch', 'resnet18', '--size', '64', '--weights', tmp_path/'w.pth', '--out', tmp_path/'out')
    assert p.returncode == 0, p.stderr
    (tmp_path/'w.pth').unlink()
    from quickcls.all import Classifier
    learn = Classifier.load(tmp_path/'out').to_learner(tmp_path/'set')
    assert len(learn.dls.vocab) == 2
    assert quickcls('predict', tmp_path/'out', defect).returncode == 0

def test_cache_and_backbones(quickcls, trained):
    p = quickcls('cache')
    assert (
        int(re.search(r'embeddings: ([\d,]+) rows', p.stdout)[1].replace(',', '')) >= 240
        and 'efficientnet_lite0-224' in p.stdout
        and 'QUICKCLS_CACHE' in p.stdout
    )
    p = quickcls('backbones', 'lite0', '--measure')
    row = next(l for l in p.stdout.splitlines() if 'efficientnet_lite0' in l)
    assert float(row.split()[-1]) > 1 and 'package' in row
    assert 'resnet152' in quickcls('backbones').stdout and 'regnety_016' in quickcls('backbones', 'regnety_016').stdout

def test_prune_empties_the_store(quickcls, graphs_of, tmp_path):
    write_folder(tmp_path/'set', a=6, b=6)
    with graphs_of('efficientnet_lite0@64', tmp_path/'cache'):
        quickcls('train', tmp_path/'set', *lite0, '--size', '64', '--out', tmp_path/'out')
        said = quickcls('cache', '--prune', '--days', '0').stdout
    assert '12 embeddings' in said and '1 graphs' in said and not list((tmp_path/'cache'/'graphs').iterdir())

def test_random_views_and_class_weights(quickcls, graphs_of, tmp_path):
    "Random views are embedded once and stored; a second run draws the very same"
    write_folder(tmp_path/'set', a=9, b=6)
    words = ['train', tmp_path/'set', *lite0, '--augment', '2', '--class-weights', '--out', tmp_path/'out', '--force', '--json']
    with graphs_of(lite0[1], tmp_path/'cache'): a, b = (json.loads(quickcls(*words).stdout.splitlines()[-1]) for _ in range(2))
    assert (a['embedded'], a['from_store']) == (15 + 2*a['n_train'], 0) and (b['embedded'], b['from_store']) == (0, a['embedded'])
    assert a['metrics'] == b['metrics']


def test_real_photos_of_a_web_search(quickcls, photos, tmp_path):
    p = quickcls('train', photos('bears_web'), *lite0, '--out', tmp_path/'bears', '--json')
    d = json.loads(p.stdout.splitlines()[-1])
    assert d['n_train'] + d['n_valid'] == 59 and len(d['skipped']) == 6 and d['accuracy'] > .8

def test_accuracy_on_real_photos(quickcls, photos, tmp_path):
    "hymenoptera, as its own folders divide it"
    d = json.loads(quickcls('train', photos('hymenoptera'), *lite0, '--out', tmp_path/'h', '--json').stdout.splitlines()[-1])
    assert (d['n_train'], d['n_valid']) == (245, 153) and d['accuracy'] >= .935
