"What the terminal says: the answer first, words that are whole, options anywhere, what was meant, what does nothing"
import fcntl, io, os, pty, re, shutil, struct, subprocess, sys, termios
from contextlib import redirect_stdout
import pytest
from tests.helpers import repo, some_parts, write_folder
from quickcls.core import QuickclsError
from quickcls.terminal.idle import idle_options
from quickcls.terminal.shares import share_of
from quickcls.terminal.suggest import did_you_mean, nearest, same_name
from quickcls.advice.summary import Summary, class_table, how_good, weakest_text
from quickcls.advice.verdict import verdict
from quickcls.terminal.text import cells, marked, table, wrapped

def figures(accuracy, interval, n): return dict(accuracy=accuracy, interval=interval, n=n)
arch = 'efficientnet_lite0@64'
photo = repo/'docs'/'parts'/'defect.jpg'

@pytest.fixture(scope='module')
def said(quickcls, tmp_path_factory):
    "Folder with a classifier `models/parts`, and what its training printed on 80 columns"
    root = tmp_path_factory.mktemp('said')
    some_parts(root/'parts', slice(20))
    p = quickcls('train', 'parts', '--arch', arch, '--offline', cwd=root, COLUMNS=80)
    assert p.returncode == 0, p.stderr
    return root, p.stdout

def flat(text): return ' '.join(text.split())

def test_the_answer_comes_first(said):
    "On one screen of 24 lines: how good, the weakest class, the report, how to share, and at the end what to type next"
    root, out = said
    lines = out.splitlines()
    assert len(lines) <= 24 and max(map(cells, lines)) <= 80
    answer = flat(out.split('\n\n')[1])
    order = [answer.index(w) for w in ('Accuracy', 'Weakest', 'models/parts/report.html', 'quickcls demo models/parts --share')]
    assert order == sorted(order) and re.search(r'\d%', answer)
    assert lines[-1].endswith('quickcls predict models/parts photo.jpg') and (root/'models'/'parts'/'report.html').is_file()

def test_statistics_are_for_those_who_ask(said, quickcls):
    "Calibration, F1, speeds: with --verbose, and in the report"
    root, out = said
    words = ('macro F1', 'calibrat', 'embedded', 'C = ')
    assert not [w for w in words if w in out]
    more = quickcls('train', 'parts', '--arch', arch, '--offline', '--force', '--verbose', cwd=root).stdout
    assert [w for w in words if w not in more] == []
    assert quickcls('train', 'parts', '--arch', arch, '--offline', '--force', '--quiet', cwd=root).stdout == ''

@pytest.mark.parametrize('columns', [30, 60, 200])
def test_no_word_is_cut(columns):
    "Lines fit, every word stays whole, a path that is longer than a line too"
    words = ['word'*(i%5 + 1) for i in range(80)] + ['/a/path/that/is/longer/than/the/line/of/thirty/columns.html']
    lines = wrapped(' '.join(words), '! ', columns).splitlines()
    assert flat('\n'.join(lines)).split()[1:] == words
    assert all(cells(l) <= columns or len(l.split()) == 1 for l in lines)

def test_a_perfect_score_has_no_margin_on_both_sides():
    "Of 34 images without a mistake: what is proved, and no ± 5.1 points"
    text = how_good(figures(1, (.8985, 1), 34))
    assert 'No mistakes on 34' in text and '89%' in text and '±' not in text and '100%' not in text
    assert '100.0%' not in how_good(figures(.9997, (.999, 1), 7000)) # not without mistakes

def test_the_sturdier_accuracy_leads():
    held, crossed = figures(.95, (.85, .98), 57), figures(.967, (.936, .983), 240)
    assert verdict(held, crossed).accuracy == .967 and verdict(held).accuracy == .95
    assert how_good(held, crossed).startswith('96.7%') and '57' in how_good(held, crossed)

def test_a_disagreement_is_loud():
    "57 % of the held-out images and 100 % in cross-validation: both are in the first line, and a sign is before it"
    held, crossed = figures(.57, (.47, .66), 100), figures(1, (.98, 1), 200)
    classes = [{'class': c, 'n': 50, 'recall': .57, 'recall_high': .7, 'precision': .5} for c in 'ab']
    def said(cv): return Summary(held, cv, classes, [('a', 'b', 20)], [], [], []).text()
    text = said(crossed)
    assert text.lstrip().startswith('error:') and '57.0%' in text and '100%' in text
    assert 'error:' not in said(figures(.6, (.5, .7), 100))

def test_the_weakest_class_is_known_to_be_weak():
    "One miss of 3 proves less than 20 of 60; without mistakes no class is called weak; a class without images is none"
    few = {'class': 'few', 'n': 3, 'recall': 2/3, 'recall_high': .94, 'precision': 1}
    many = {'class': 'many', 'n': 60, 'recall': 2/3, 'recall_high': .77, 'precision': .9}
    none = {'class': 'none', 'n': 0, 'recall': 0, 'recall_high': 1, 'precision': 0}
    assert weakest_text([few, many, none], [('many', 'few', 20), ('few', 'many', 1)]).startswith('many: 20 of its 60')
    right = [few | dict(recall=1), many | dict(recall=1), none]
    assert 'no class has a mistake' in weakest_text(right, []) and 'few' in weakest_text(right, [])

@pytest.mark.parametrize('n', [2, 40, 200])
def test_the_table_fits(n, monkeypatch):
    "2, 40 and 200 classes: at most 14 lines of 60 columns; of many, the weakest, and how many there are"
    monkeypatch.setenv('COLUMNS', '60')
    classes = [{'class': f'a class with a rather long name, number {i}', 'n': 10, 'recall': i/n, 'recall_high': i/n, 'precision': .5}
               for i in range(n)]
    lines = class_table(classes, [(classes[1]['class'], classes[0]['class'], 4)]).splitlines()
    assert len(lines) <= 14 and max(map(cells, lines)) <= 60
    assert (str(n) in lines[-1]) == (n > 12)

def test_names_of_any_script_align(monkeypatch):
    monkeypatch.setenv('COLUMNS', '60')
    lines = table(['class', 'n'], [['寿司', '1'], ['cat', '10']]).splitlines()
    assert len({cells(l) for l in lines}) == 1

class Terminal(io.StringIO):
    def isatty(self): return True

def test_colour_is_for_a_terminal_and_never_from_a_name(monkeypatch):
    "No escape in a file, with NO_COLOR, or from the name of a class"
    from quickcls.cli import Shown
    from quickcls.terminal.text import show
    monkeypatch.delenv('NO_COLOR', raising=False)
    monkeypatch.setenv('TERM', 'xterm')
    def printed(stream):
        with redirect_stdout(Shown(stream)): show(marked('class \x1b[2Jcat'))
        return stream.getvalue()
    coloured = printed(Terminal())
    assert '\x1b[33m' in coloured and '\x1b[2J' not in coloured
    assert '\x1b' not in printed(io.StringIO()) and printed(io.StringIO()).startswith('warning: ')
    monkeypatch.setenv('NO_COLOR', '1')
    assert '\x1b' not in printed(Terminal())

def test_a_step_is_shown_while_it_works():
    "On a terminal: a line that counts the seconds, a bar in its place, nothing left at the end"
    code = ('import time\nfrom quickcls.terminal.progress import progress, say, working\n'
            'with working("preparing"):\n time.sleep(1.2)\n say("said above")\n'
            ' with progress(2, "images") as bar:\n  bar.update(1)\n  time.sleep(.6)\n time.sleep(1.2)\nprint("the end")\n')
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    env = {k: v for k, v in os.environ.items() if k != 'QUICKCLS_QUIET'} | dict(PYTHONPATH=str(repo), TERM='xterm')
    p = subprocess.Popen([sys.executable, '-c', code], stdout=slave, stderr=slave, env=env)
    os.close(slave)
    seen = b''
    while True:
        try: part = os.read(master, 4096)
        except OSError: break
        if not part: break
        seen += part
    p.wait()
    text = seen.decode()
    assert 'preparing … 1 s' in text and '1/2' in text and p.returncode == 0
    assert 'preparing … ' in text[text.rindex('1/2'):] # the line is back after the bar
    screen = [re.split('\r', l.rstrip('\r'))[-1] for l in text.split('\n')]
    assert [l.strip() for l in screen if l.strip()] == ['said above', 'the end']

def test_options_stand_anywhere(said, quickcls):
    "Between a classifier and its image, and between two classifiers"
    root, _ = said
    model = root/'models'/'parts'
    p = quickcls('predict', model, '--json', photo)
    assert (p.returncode, p.stderr) == (0, '') and p.stdout.startswith('{')
    assert quickcls('predict', '--top', '1', model, photo, '--json').returncode == 0
    other = shutil.copytree(model, root/'models'/'other', dirs_exist_ok=True)
    assert quickcls('report', model, '--out', root/'v.html', other).returncode == 0 and (root/'v.html').is_file()

@pytest.mark.parametrize('words,meant', [
    (('train', 'pets', '--archs', 'resnet34'), '--arch'), (('train', 'pets', '--valid_pct', '.2'), '--valid-pct'),
    (('tran', 'pets'), 'train'), (('predict', 'm', 'p.jpg', '--jsn'), '--json')])
def test_a_wrong_option_is_answered_with_the_right_one(quickcls, words, meant):
    p = quickcls(*words)
    assert p.returncode == 2 and p.stderr.rstrip().endswith(f'Did you mean {meant}?') and len(p.stderr.splitlines()) == 1

near = [('efficientnet_lite', 'efficientnet_lite0'), ('resnet_43', 'resnet34'), ('convnext-tny', 'convnext_tiny')]

@pytest.mark.parametrize('typed,meant', near)
def test_a_backbone_is_found(typed, meant):
    "Spelled nearly right: named in the message"
    from quickcls.backbones.registry import find_backbone
    with pytest.raises(QuickclsError, match=meant): find_backbone(typed)

spellings = [('ResNet34', 'resnet34'), ('resnet-34', 'resnet34'), ('efficientnet-lite0', 'efficientnet_lite0'),
             ('conv_next_tiny', 'convnext_tiny')]

@pytest.mark.parametrize('typed,name', spellings)
def test_a_backbone_in_another_spelling(typed, name):
    "Case and signs do not matter"
    from quickcls.backbones.registry import find_backbone
    assert find_backbone(typed).name == name

def test_nearest_names():
    assert nearest('cats', ['cat', 'dog']) == ['cat'] and nearest('zebra', ['cat', 'dog']) == []
    assert did_you_mean('xyz', ['cat']) == '' and same_name('Cat', ['cat', 'CAT']) is None

def test_a_class_is_suggested(said, quickcls):
    root, _ = said
    p = quickcls('explain', root/'models'/'parts', photo, '--label', 'defct', cwd=root)
    assert p.returncode == 1 and 'Did you mean defect?' in p.stderr
    p = quickcls('train', root/'parts', '--classes', 'ok,defct', '--out', root/'no')
    assert p.returncode == 1 and 'Did you mean defect?' in p.stderr

@pytest.mark.parametrize('words,expected', [
    (('predict', 'photo.jpg', 'models/parts'), 'quickcls predict models/parts photo.jpg'),
    (('predict', 'photo.jpg'), 'quickcls predict MODEL photo.jpg'),
    (('predict', 'parts', 'photo.jpg'), 'quickcls train parts'),
    (('predict', 'models', 'photo.jpg'), 'models/parts'),
    (('predict', 'models/part', 'photo.jpg'), 'Did you mean models/parts?'),
    (('predict', 'models/parts/report.html', 'photo.jpg'), 'models/parts'),
    (('explain', 'photo.jpg', 'models/parts'), 'quickcls explain models/parts photo.jpg'),
    (('tag', 'pets.zip', 'photo.jpg'), 'Unpack'),
    (('report', 'parts'), 'quickcls train parts'),
    (('demo', 'parts/ok'), 'folder of images'),
    (('train', 'models/parts'), 'quickcls predict models/parts photo.jpg'),
    (('train', 'parts/ok'), 'parts/ok is a folder of images'),
    (('compare', 'photo.jpg'), 'photo.jpg is an image'),
    (('preview', 'pets.7z'), 'Unpack'),
    (('new', 'labels.csv'), 'a table'),
    (('train', 'models'), 'a folder of classifiers'),
])
def test_a_path_is_told_what_it_is(said, quickcls, words, expected):
    "A photo where a classifier belongs, a classifier where images belong, swapped ones: what it is and what to type, in one line"
    root, _ = said
    for name in ('pets.zip', 'pets.7z', 'labels.csv'): (root/name).touch()
    shutil.copy(photo, root/'photo.jpg')
    p = quickcls(*words, cwd=root)
    assert p.returncode == 1 and expected in p.stderr and len(p.stderr.splitlines()) == 1, p.stderr

def test_a_missing_models_is_added(said, quickcls):
    "`pets` is meant to be `models/pets`"
    root, _ = said
    shutil.copytree(root/'models'/'parts', root/'models'/'screws', dirs_exist_ok=True)
    assert 'Did you mean models/screws?' in quickcls('predict', 'screws', 'photo.jpg', cwd=root).stderr

@pytest.mark.parametrize('words,option', [
    (('train', 'parts', '--epochs', '50'), '--epochs'), (('train', 'parts', '--levels', 'last', '--arch', 'akaze-bow-svm'), '--levels'),
    (('train', 'parts', '--strategy', 'full', '--folds', '5x2'), '--folds'),
    (('report', 'a', 'b', '--cost', '5'), '--cost')])
def test_idle_options_are_told(words, option):
    "Before the work, with the reason; nothing is said where the option acts"
    from quickcls.cli import command_parser, read_words
    args = read_words(command_parser(words[0])[0], words[1:])
    told = idle_options(words[0], args, {option[2:]})
    assert len(told) == 1 and told[0].startswith(f'{option} does nothing')
    assert idle_options(words[0], args, set()) == []

def test_idle_options_that_are_mistakes(quickcls):
    "Days without --prune remove nothing: an error that says what to type"
    p = quickcls('cache', '--days', '3')
    assert p.returncode == 1 and '--prune --days 3' in p.stderr

def test_a_share_where_the_folders_decide(quickcls, tmp_path):
    "--valid-pct on a folder with its own splits is told, and not kept as the share"
    for split, at in (('train', slice(12)), ('test', slice(12, 18))): some_parts(tmp_path/'set'/split, at)
    p = quickcls('train', tmp_path/'set', '--arch', arch, '--offline', '--valid-pct', '10%', '--out', tmp_path/'m')
    assert p.returncode == 0 and '--valid-pct 10% does nothing' in flat(p.stdout)
    assert '(33%; the folders decide)' in (tmp_path/'m'/'report.html').read_text()

@pytest.mark.parametrize('text,share', [('0.3', .3), ('30%', .3), ('30', .3), ('3/10', .3), ('1/200', .005), ('.5%', .005)])
def test_shares_in_one_unit(text, share): assert share_of(text) == pytest.approx(share)

@pytest.mark.parametrize('text', ['1', '200', '-1', 'x', '100%'])
def test_wrong_shares(quickcls, text):
    p = quickcls('train', repo/'datasets'/'parts', f'--valid-pct={text}')
    assert p.returncode == 1 and '--valid-pct' in p.stderr and '%' in p.stderr

def test_a_class_of_one_image_and_many_classes(quickcls, tmp_path):
    "Four classes, one of them with a single image: named in a note, its row is no 0 %"
    write_folder(tmp_path/'set', a=9, b=9, c=9, alone=1)
    p = quickcls('train', 'set', '--arch', arch, '--offline', '--out', 'm', cwd=tmp_path, COLUMNS=80)
    assert p.returncode == 0 and 'alone has a single image' in flat(p.stdout) and not re.search(r'^alone +\d', p.stdout, re.M)
