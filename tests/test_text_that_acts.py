"Names of files and classes are text: no formula in a spreadsheet, no command to a terminal"
import base64, csv, fcntl, io, json, os, pty, re, struct, subprocess, sys, termios
import pandas as pd, pytest
from quickcls.core import plain_text
from quickcls.terminal.csv_text import csv_table, csv_text, original_text
from quickcls.saved.tables import read_table
from tests.helpers import as_bytes, image, repo

formula, escape, line, bidi, c1 = '=1+1.jpg', 'x\x1b[2J\x07.jpg', 'two\nlines.jpg', 'a\u202egpj.jpg', 'y\x9b31m.jpg'
names = [formula, escape, line, bidi, c1, '-x.jpg', '@sum.jpg', '\u5bff\u53f8 \U0001f469\u200d\U0001f467.jpg']
kinds = ['=cmd|calc', 'red\x1b[31m\u202e']
acting = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]')

@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('acting')
    for k, kind in enumerate(kinds):
        (root/'set'/kind).mkdir(parents=True)
        for i, name in enumerate(names): (root/'set'/kind/name).write_bytes(as_bytes(image((k, i))))
        (root/'set'/kind/f'{k}\x1bbad\n.jpg').write_bytes(b'<html>')
    (root/'bad\x1b]0;title\x07.jpg').write_bytes(b'<html>')
    return root

@pytest.fixture(scope='module')
def model(root, quickcls):
    p = quickcls('train', root/'set', '--out', root/'model', '--arch', 'efficientnet_lite0', '--folds', '2')
    assert p.returncode == 0, p.stderr
    assert not acting.search(p.stdout + p.stderr)
    return root/'model'

def test_nothing_that_is_printed_acts_on_the_terminal(root, model, quickcls, tmp_path):
    some = root/'set'/kinds[1]/escape
    for words in (
        ['predict', model, root / 'bad\x1b]0;title\x07.jpg'],
        ['tag', model, some],
        ['explain', model, some],
        ['report', model, model],
        ['train', root / 'bad\x1b]0;title\x07'],
        ['predict', root / 'no\x9bmodel', some],
        ['tr\x1b[2Jain'],
    ):
        p = quickcls(*words, cwd=tmp_path)
        assert p.stdout + p.stderr and not acting.search(p.stdout + p.stderr), words
    p = quickcls('predict', model, root/'set', '--verbose')
    assert not acting.search(p.stdout + p.stderr)
    lines = p.stdout.partition('\n\n')[0].splitlines() # before the summary
    assert len(lines) == 2*len(names) + 2 and sum('two?lines.jpg' in l for l in lines) == 2 # a line an image, whatever it is called
    assert any('\u5bff\u53f8 \U0001f469\u200d\U0001f467.jpg' in l for l in lines)

def test_json_is_exact_and_harmless(root, model, quickcls):
    out = quickcls('predict', model, root/'set', '--json').stdout
    assert not acting.search(out)
    said = [json.loads(l) for l in out.splitlines()]
    assert {os.path.basename(s['path']) for s in said} >= set(names) and {t['label'] for s in said if s['top'] for t in s['top']} == set(
        kinds
    )


def test_a_progress_bar_still_moves_on_a_terminal():
    code = (
        'import sys; sys.argv = ["quickcls"]\nfrom quickcls import cli\nfrom quickcls.terminal.progress import '
        'progress\ndef go(name, argv):\n    with progress(3, "counting") as bar:\n'
        '        for _ in range(3): bar.update(1)\n    print("a\\x1b[2Jb")\n    return 0\ncli.call = go\nsys.exit(cli.main(["cache"]))'
    )
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    env = {k: v for k, v in os.environ.items() if k != 'QUICKCLS_QUIET'} | {'PYTHONPATH': str(repo)}
    p = subprocess.run([sys.executable, '-c', code], stdout=side, stderr=side, env=env)
    os.close(side)
    shown = os.read(main, 100_000).decode()
    os.close(main)
    assert p.returncode == 0 and '\rcounting' in shown and 'a?[2Jb' in shown and '?counting' not in shown

def test_the_csv_of_answers_holds_no_formula(root, model, quickcls, tmp_path):
    here = root/'set'/kinds[0]
    p = quickcls('predict', model, *names[:1], './' + names[5], names[6], '--csv', tmp_path/'answers.csv', cwd=here)
    assert p.returncode == 0, p.stderr
    rows = list(csv.DictReader(open(tmp_path/'answers.csv', newline='', encoding='utf-8-sig')))
    assert [r['path'] for r in rows] == ["'=1+1.jpg", "'-x.jpg", "'@sum.jpg"]
    assert {v for r in rows for k, v in r.items() if k.startswith('label')} == {"'=cmd|calc", kinds[1]}
    assert all(0 <= float(r['probability']) <= 1 for r in rows)

def test_the_csv_of_the_page_holds_no_formula():
    from quickcls.report.answer_html import Answer, answers_table
    from quickcls.model.prediction import Prediction
    page = answers_table([Answer(Prediction('=1+1.jpg', [], error='+no image'))])
    data = base64.b64decode(re.search(r'base64,([^"]+)', page)[1]).decode()
    row = list(csv.reader(io.StringIO(data)))[1]
    assert row[0] == "'=1+1.jpg" and row[-1] == "'+no image"

def test_what_a_classifier_keeps_comes_back_as_it_was(root, model):
    raw = list(csv.DictReader(open(model/'predictions.csv', newline='', encoding='utf-8')))
    assert {r['label'] for r in raw} == {"'=cmd|calc", kinds[1]}
    t = read_table(model/'predictions.csv')
    assert set(t.label) == set(kinds) and set(t.predicted) <= set(kinds) and {os.path.basename(p) for p in t.path} == set(names)
    matrix = next(csv.reader(open(model/'confusion_matrix.csv', newline='', encoding='utf-8')))
    assert "'=cmd|calc" in matrix and '=cmd|calc' not in matrix

@pytest.mark.parametrize(
    'text',
    [
        '=1',
        '+a',
        '-a',
        '@a',
        '\t=1',
        '\rx',
        ' =1',
        '\uff1d1',
        "'=1",
        "''=1",
        '\u3000=1',
        '-1',
        '+2.5',
        '-1e3',
        "'tis",
        '',
        "'",
        'cat',
        '-1+1',
    ],
)
def test_a_cell_is_no_formula_and_comes_back(text):
    cell = csv_text(text)
    assert original_text(cell) == text
    assert re.fullmatch(r'[+-]?\d+(\.\d+)?(e\d+)?', cell) or not re.match(r'\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r]', cell)
    t = pd.DataFrame({'label': [text, 'b'], 'p': [.5, 1], 'ok': [True, False], 'n': [1, 2]})
    back = csv_table(pd.read_csv(io.StringIO(csv_table(t).to_csv(index=False)), dtype={'label': str}, keep_default_na=False), undo=True)
    if not set(text) & set('\r'): pd.testing.assert_frame_equal(back, t)

@pytest.mark.parametrize(
    'name',
    [
        '寿司',
        'नमस्ते',
        'می‌خواهم',
        '👩‍👩‍👧',
        '🏴\U000e0067\U000e0062\U000e007f',
        'e\u0301',
        'two\u00a0words',
        'ideographic\u3000space',
        '\u200fعربي',
    ],
)
def test_scripts_and_emoji_stay(name): assert plain_text(name) == name
