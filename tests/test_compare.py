"Scenarios side by side: the same images for all, each through the network once, and on from where it stopped"
import re, shutil, sys, time
from dataclasses import asdict
from types import SimpleNamespace
import numpy as np, pandas as pd
import pytest
from quickcls.features import extractors
from quickcls.compare.command import compare
from quickcls.compare.results import Comparison
from quickcls.compare.runs import kept_runs
from quickcls.core import QuickclsError, cache_dir
from quickcls.data.items import scan_folder
from quickcls.compare.grid import Scenario, Trials
from quickcls.features.store import Store
from tests.helpers import some_parts, write_folder
from tests.axe import serious_faults
from tests.test_browser import opened
from tests.test_classic import has

arch, axes = 'efficientnet_lite0@96', dict(head='linear,mlp:10', augment='0,1', train_pct='10,70')

@pytest.fixture(scope='module')
def parts(tmp_path_factory): return some_parts(tmp_path_factory.mktemp('some')/'parts', slice(40))

@pytest.fixture(scope='module')
def done(parts, graphs_of, tmp_path_factory):
    "A comparison of eight rows and eight that cannot be run, with a store of its own; which rows of networks went into the store"
    rows, put = [], Store.put
    with pytest.MonkeyPatch.context() as m, graphs_of(arch, tmp_path_factory.mktemp('store')/'cache') as cache:
        m.setattr(
            Store, 'put', lambda self, some, recipe: (rows.extend((self.path, recipe, k) for k, _ in some), put(self, some, recipe))[1]
        )
        c = compare(parts, arch=f'{arch},alexnet', out=tmp_path_factory.mktemp('out')/'c', offline=True, quiet=True, **axes)
    own = [(r, k) for p, r, k in rows if p.parent == cache and not r.startswith(('small|', 'taken|'))]
    return SimpleNamespace(c=c, t=c.table, out=c.out, rows=own)

def test_a_row_a_scenario(done, parts):
    t = done.t
    assert len(t) == 16 and sorted(t.scenario) == list(range(1, 17))
    own = t[t.accuracy.notna()]
    assert (
        len(own) == 8
        and own.n_test.nunique() == 1
        and sorted(own.n_train.unique())[0] <= 10
        and own.n_train.max() + own.n_test.iloc[0] == 80
    )
    assert (
        (own.accuracy.diff().dropna() <= 0).all()
        and own.accuracy.between(own.low, own.high).all()
        and np.allclose(own.seconds, own.pass_seconds + own.fit_seconds)
    )
    assert own.efficient.any() and own.within_chance.iloc[0] and own.accuracy.iloc[0] > .7
    missing = t[t.accuracy.isna()]
    assert (
        set(missing.arch) == {'alexnet'} and missing.reason.str.contains('weights').all()
    )  # never trained from random numbers under its name
    assert 'test images' in done.c.sentence() and f'train {parts} --arch {arch}' in done.c.command(done.c.best)
    assert done.c.recommended.within_chance and done.c.recommended.n_train == own[own.within_chance].n_train.max()

def test_each_image_passes_once(done):
    "However many rows: 80 images, and one random view of those that some row learns from"
    assert len(done.rows) == len(set(done.rows)) == 80 + int(done.t.n_train.max())

def test_the_files(done):
    kinds = {'runs.jsonl', 'pages.json', 'compare.csv', 'compare.md', 'compare.html', 'compare.png'}
    assert kinds == {p.name for p in done.out.iterdir()}
    assert len(pd.read_csv(done.out/'compare.csv')) == 16
    text = (done.out/'compare.md').read_text()
    assert text.count('\n| ') == 2 + 8 and text.count('alexnet') == 1 and '--offline' in text # those that cannot be run are one line

@pytest.mark.parametrize('width', [80, 120])
def test_it_fits_a_terminal_and_the_sentence_is_first(done, width, monkeypatch):
    lines = done.c.lines(width)
    assert max(map(len, lines)) <= width and sum(line.count('%–') for line in lines) == 8
    monkeypatch.setenv('COLUMNS', str(width))
    text = str(done.c).splitlines()
    assert max(map(len, text)) <= width and done.c.sentence().startswith(text[0])
    command = ' '.join(line.rstrip('\\').strip() for line in text[text.index('Train it:') + 1:] if line.startswith('  '))
    assert command.split() == done.c.command(done.c.recommended).split()

def test_a_second_call_has_nothing_to_do_and_others_add_rows(done, parts, tmp_path, monkeypatch):
    ran, run, out = [], Trials.run, shutil.copytree(done.out, tmp_path/'c')
    monkeypatch.setattr(Trials, 'run', lambda self, s, r: (ran.append((s, r)), run(self, s, r))[1])
    again = compare(parts, arch=[arch], out=out, offline=True, quiet=True, **axes).table
    assert ran == [] and again.accuracy.tolist() == done.t.accuracy.dropna().tolist()
    whole = (out/'runs.jsonl').read_bytes()
    (out/'runs.jsonl').write_bytes(whole[:-30]) # the power failed
    compare(parts, arch=arch, out=out, offline=True, quiet=True, **axes)
    assert len(ran) == 1 and len(kept_runs(out/'runs.jsonl')) == 8
    more = compare(parts, arch=arch, train_pct='70', repeats=2, levels='all,last', out=out, quiet=True, offline=True)
    assert len(ran) == 1 + 3 and len(more.table) == 9 and sorted(more.table.repeats) == [1]*7 + [2]*2
    twice = more.table[more.table.repeats == 2]
    assert [np.mean([float(a) for a in r.accuracies.split()]) for r in twice.itertuples()] == pytest.approx(
        twice.accuracy.tolist(), abs=1e-4
    ) and '2 splits' in more.note
    assert len(compare(parts, arch=arch, train_pct='70', out=out, quiet=True, offline=True, fresh=True).table) == 1

def test_what_the_command_does_otherwise_is_said(parts, tmp_path):
    "A row that learned from few images is not what `train` makes of all, and repeats are told with their spread"
    c = compare(parts, arch=arch, train_pct='10', repeats=3, out=tmp_path/'c', quiet=True, offline=True)
    each = [float(a) for a in c.best.accuracies.split()]
    assert len(each) == 3 and all(t in c.sentence() for t in ('3 splits', f'{min(each):.1%}', f'{max(each):.1%}'))
    assert '3 splits' in c.note
    whole = int((Trials(scan_folder(parts), valid_pct=.3).items(0).table.split == 'train').sum())
    for text in (str(c), *((c.out / f'compare.{kind}').read_text() for kind in ('md', 'html'))):
        assert re.search(rf'\b{whole} training images.*\b{c.best.n_train:.0f}\b', ' '.join(text.split()))
    assert '--epochs' not in c.command(c.best) # a linear head is found in one step

def test_on_after_a_kill(parts, tmp_path, python):
    code = (
        'import sys; from quickcls.compare.command import compare; compare(sys.argv[1], arch=sys.argv[2], '
        'out=sys.argv[3], train_pct="20,40,60,70", quiet=True, offline=True)'
    )
    p, kept = python(code, parts, arch, tmp_path/'c', start=True), tmp_path/'c'/'runs.jsonl'
    while p.poll() is None and not kept_runs(kept): time.sleep(.01)
    p.kill()
    p.wait()
    before = len(kept_runs(kept))
    assert before >= 1
    python(code, parts, arch, tmp_path/'c')
    assert len(kept_runs(kept)) == len({r['key'] for r in kept_runs(kept)}) == 4 and (tmp_path/'c'/'compare.html').is_file()

def test_ctrl_c_says_how_to_go_on(parts, tmp_path, monkeypatch, capsys):
    run = Trials.run
    def stop(self, s, r):
        if s.head == 'mlp:5': raise KeyboardInterrupt
        return run(self, s, r)
    monkeypatch.setattr(Trials, 'run', stop)
    with pytest.raises(KeyboardInterrupt): compare(parts, arch=arch, head='linear,mlp:5', out=tmp_path/'c', offline=True)
    said = ' '.join(capsys.readouterr().out.split())
    assert (
        'One scenario' in said
        and '1 more scenario ' in said
        and f'quickcls compare {parts} --arch {arch} --head linear,mlp:5' in said
        and len(kept_runs(tmp_path / 'c' / 'runs.jsonl')) == 1
    )


@pytest.mark.parametrize(
    'given, words',
    [
        (dict(arch='resnet3'), 'Unknown backbone'),
        (dict(strategy='all'), 'Unknown strategy'),
        (dict(head='linear,big'), 'Unknown head'),
        (dict(levels='first'), 'Unknown levels'),
        (dict(augment='keras'), 'Unknown augmentation'),
        (dict(train_pct='0,10'), 'train_pct is 0'),
        (dict(train_pct='5,100'), 'at most 95'),
        (dict(preset='these', arch='auto'), 'Unknown preset'),
        (dict(repeats=0), 'expected 1'),
        (dict(arch=','), 'arch is empty'),
        (dict(preset='thesis', arch=arch), 'preset'),
        (dict(arch='sift-bow-svm', strategy='full'), 'sift-bow-svm'),
        (dict(epochs=0), 'epochs'),
    ],
)
def test_what_no_scenario_can_be_is_refused_before_work(parts, tmp_path, given, words):
    with pytest.raises(QuickclsError, match=words): compare(parts, out=tmp_path/'c', quiet=True, **{'arch': arch, **given})
    assert not (tmp_path/'c').exists()

def test_no_other_folder_is_replaced(parts, tmp_path):
    (tmp_path/'mine.txt').write_text('mine')
    with pytest.raises(QuickclsError, match='is not a comparison'): compare(parts, arch=arch, out=tmp_path, quiet=True)
    with pytest.raises(QuickclsError, match='inside the other'): compare(parts, arch=arch, out=parts/'c', quiet=True)

def test_parts_lie_within_parts(parts):
    trials = Trials(scan_folder(parts), valid_pct=.3)
    learned = {p: set(trials.parts(Scenario(arch, pct=p), 0)[1]) for p in (1, 5, 20, 50, 70)}
    sizes = [len(learned[p]) for p in learned]
    assert sizes == sorted(sizes) and sizes[0] == 2 and all(learned[a] <= learned[b] for a, b in zip((1, 5, 20, 50), (5, 20, 50, 70)))
    tests = [set(trials.parts(Scenario(arch, pct=p), 0)[2]) for p in learned]
    assert all(t == tests[0] for t in tests) and not tests[0] & learned[70]
    assert set(trials.parts(Scenario(arch), 1)[2]) != tests[0] # another repeat, another split

def test_a_test_side_stays_untouched_where_there_is_a_valid_one(tmp_path):
    for i, (side, n) in enumerate(dict(train=12, valid=6, test=5).items()): write_folder(tmp_path/'set'/side, start=100*i, a=n, b=n)
    trials = Trials(scan_folder(tmp_path/'set'), valid_pct=.3)
    items, learned, tested, _ = trials.parts(Scenario(arch, pct=50), 0)
    assert (
        len(learned) == 12
        and set(items.table.path[tested].map(lambda p: p.split('/set/')[1].split('/')[0])) == {'valid'}
        and len(items) == 36
    )
    shutil.rmtree(tmp_path/'set'/'valid')
    items, _, tested, _ = Trials(scan_folder(tmp_path/'set'), valid_pct=.3).parts(Scenario(arch), 0)
    assert len(tested) == 10

def test_damaged_images_are_out_before_the_split(parts, tmp_path):
    folder = shutil.copytree(parts, tmp_path/'parts')
    whole = next((folder/'ok').iterdir())
    (folder/'ok'/'half.jpg').write_bytes(whole.read_bytes()[:-900] if whole.stat().st_size > 2000 else whole.read_bytes()[:-300])
    t = compare(folder, arch=arch, out=tmp_path/'c', offline=True, quiet=True).table
    assert t.n_train[0] + t.n_test[0] == 80

def test_fine_tuned_rows(parts, tmp_path, monkeypatch):
    "They are asked for through `quickcls.model.finetune.tune`, with their own part of the images"
    asked = []
    def tune(items, views, **given):
        asked.append((items.table.split.value_counts().to_dict(), [str(v) for v in views], given))
        number = {c: i for i, c in enumerate(items.vocab)}
        head = SimpleNamespace(arrays=dict(w=np.zeros(10)))
        return SimpleNamespace(
            seconds=12.5,
            logits=lambda rows: np.eye(len(items.vocab))[rows.label.map(number)],
            head=lambda: head,
            graphs=lambda: [room_graph(views)],
        )

    def room_graph(views):
        from quickcls.backbones.onnx_graph import get_graph
        return get_graph(views[0], offline=True)
    monkeypatch.setitem(sys.modules, 'quickcls.model.finetune', SimpleNamespace(tune=tune))
    t = compare(
        parts, arch=arch, strategy='head,full', train_pct='35,70', augment='guide:1', out=tmp_path / 'c', offline=True, quiet=True
    ).table
    full = t[t.strategy == 'full'].sort_values('n_train')
    assert full.accuracy.tolist() == [1, 1] and full.fit_seconds.tolist() == [12.5, 12.5]
    assert [a[0]['train'] for a in asked] == full.n_train.astype(int).tolist() and asked[0][2] | dict(say=None) == dict(
        strategy='full', head='linear', levels='all', augment='guide', offline=True, class_weights=False, seed=42, epochs=10, say=None
    )


@pytest.mark.slow
def test_two_views_learn_together_and_leave_no_network_behind(parts, graphs_of, tmp_path):
    two = 'efficientnet_lite0@64+efficientnet_lite0@96'
    with graphs_of(two, tmp_path/'cache'):
        graphs = {p.name for p in cache_dir('graphs').iterdir()}
        before = compare(parts, arch=two, out=tmp_path/'head', offline=True, quiet=True).table
        t = compare(parts, arch=two, strategy='partial', epochs=1, out=tmp_path/'partial', offline=True, quiet=True).table
        assert t.accuracy[0] > .5 and t.seconds[0] > before.seconds[0] and {p.name for p in cache_dir('graphs').iterdir()} == graphs

def test_the_thesis_says_what_it_has_no_weights_for(parts, tmp_path):
    from quickcls.compare.grid import plan_scenarios
    plan = plan_scenarios('auto', preset='thesis', strategy='head,full')
    assert len(plan) == 15 and [s.strategy for s in plan if s.arch == 'luna'] == ['scratch']
    t = compare(parts, arch='swin_tiny,luna', out=tmp_path/'c', offline=True, quiet=True)
    assert (
        t.best is None
        and [option in reason for option, reason in zip(('offline=True', "strategy='scratch'"), t.table.reason)] == [True, True]
        and t.sentence()
        and (tmp_path / 'c' / 'compare.html').is_file()
    )


def test_visual_words_are_learned_from_each_row_s_own_images(parts, tmp_path, monkeypatch):
    if not has('sift'): pytest.skip('no SIFT in this OpenCV')
    learned, learn = [], extractors.learn_words
    monkeypatch.setattr(extractors, 'learn_words', lambda view, paths, **kw: (learned.append(len(paths)), learn(view, paths, **kw))[1])
    t = compare(parts, arch='sift-bow-svm@160', head='linear,fastai', train_pct='35,70', out=tmp_path/'c', offline=True, quiet=True).table
    assert t['head'].tolist() == ['svm', 'svm'] and sorted(learned) == sorted(t.n_train) and (t.mb > 0).all()

@pytest.mark.parametrize('width', [390, 1280])
def test_the_page_asks_nobody_and_needs_no_sideways_scroll(done, browser, width):
    with opened(browser, done.out/'compare.html', viewport=dict(width=width, height=800)) as page:
        assert page.locator('.scenarios tbody').first.locator('tr').count() == 8 and page.locator('svg:visible').count() == 2
        assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
        assert page.locator('.lead').inner_text() == done.c.sentence()
        failed = page.locator('.failed')
        assert failed.count() == 1 and '8 scenarios' in failed.inner_text() and not page.get_by_text('weights not on').is_visible()
        failed.locator('summary').focus()
        page.keyboard.press('Enter')
        assert page.get_by_text('weights not on').is_visible() and 'alexnet' in failed.inner_text()

def test_the_page_sorts_by_keyboard(done, browser):
    with opened(browser, done.out/'compare.html', viewport=dict(width=1280, height=800)) as page:
        rows = page.locator(".scenarios tbody").first.locator("tr")
        def column(name): return [float(v) for v in rows.evaluate_all(f"r => r.map(e => e.dataset.{name})")]
        def sorted_by(): return page.locator('[aria-sort=ascending], [aria-sort=descending]').all_inner_texts()
        assert column('accuracy') == sorted(column('accuracy'), reverse=True) and len(sorted_by()) == 1
        page.locator('th button[data-column=seconds]').focus()
        page.keyboard.press('Enter')
        assert column('seconds') == sorted(column('seconds')) and page.locator('th.seconds').get_attribute('aria-sort') == 'ascending'
        page.keyboard.press('Space')
        assert column('seconds') == sorted(column('seconds'), reverse=True) and len(sorted_by()) == 1
        page.locator('th button[data-column=accuracy]').click()
        assert column('accuracy') == sorted(column('accuracy'), reverse=True)

def test_the_command_is_copied(done, browser):
    with opened(browser, done.out/'compare.html', permissions=['clipboard-read', 'clipboard-write']) as page:
        page.locator('button[data-copy]').click()
        page.get_by_role('button', name='copied').wait_for()
        assert page.evaluate('navigator.clipboard.readText()') == done.c.public_command() and '--offline' in done.c.public_command()

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_is_accessible(done, browser, scheme):
    with browser.new_context(color_scheme=scheme, bypass_csp=True) as context:
        page = context.new_page()
        page.goto((done.out/'compare.html').as_uri())
        assert serious_faults(page) == []

def test_another_seed_is_another_page(parts, tmp_path, browser):
    "And an index names both; the same settings go on on their own page, and only theirs are forgotten"
    how, out = dict(arch=arch, out=tmp_path/'c', offline=True, quiet=True), tmp_path/'c'
    first, second = compare(parts, **how), compare(parts, **how, seed=7, head='linear,ridge')
    whole = (out/'compare.html').read_bytes()
    assert (first.stem, second.stem) == ('compare', 'compare-seed7') and len(pd.read_csv(out/'compare.csv')) == 1
    again = compare(parts, **how, seed=7, head='svm')
    assert again.stem == second.stem and len(again.table) == 3 and (out/'compare.html').read_bytes() == whole
    assert len(compare(parts, **how, seed=7, fresh=True).table) == 1 and len(kept_runs(out/'runs.jsonl')) == 2
    with opened(browser, out/'index.html', viewport=dict(width=390, height=844)) as page:
        assert page.locator('main a').all_inner_texts() == ['compare', 'compare-seed7'] and 'seed 7' in page.inner_text('main')
        assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    other = shutil.copytree(parts, tmp_path/'elsewhere'/'parts') # another folder of the same name
    assert compare(other, **how).stem not in ('compare', 'compare-seed7') and len(list(out.glob('*.csv'))) == 3

def made_up(*rows):
    "A `Comparison` of (images that are wrong of 60, seconds, axes)"
    def run(wrong, seconds, pct=70, **axes):
        right = np.arange(60) >= wrong
        counts = dict(n_train=2*pct, n_test=60, n_side=140, n_groups=60, right=np.packbits(right).tobytes().hex())
        times = dict(pass_seconds=seconds, fit_seconds=0, images_per_s=99, mb=13, train_accuracy=1, accuracy=right.mean())
        return dict(scenario=asdict(Scenario('efficientnet_lite0', pct=pct, **axes)), repeat=0) | counts | times
    return Comparison('made up', [run(*row, **axes) for *row, axes in rows])

def test_ties_come_first():
    "Five of sixty images are chance, six are not"
    linear, ridge, svm = (dict(head=h) for h in ('linear', 'ridge', 'svm'))
    tied = made_up((0, 50, linear), (5, 9, ridge), (5, 30, svm))
    assert tied.sentence().startswith('All 3') and tied.recommended['head'] == 'ridge' and tied.table.efficient.sum() == 1
    some = made_up((0, 50, linear), (5, 20, ridge), (6, 1, svm))
    assert some.recommended['head'] == 'ridge' and '1 other' in some.sentence() and '91.7%' in some.sentence()
    assert some.table[some.table.efficient]['head'].tolist() == ['linear', 'svm'] # no line through the tie between them
    none = made_up((0, 50, linear), (6, 1, svm))
    assert none.recommended['head'] == 'linear' and 'tied' not in none.sentence()
    assert '10.0 points' in none.caution()
    barely = made_up((0, 3.7, linear), (3, 3., ridge)) # a second is nothing to gain
    assert barely.recommended['head'] == 'linear'

def test_the_row_to_take_learned_from_most_images():
    c = made_up((0, 50, dict(pct=70)), (2, 9, dict(pct=70, head='ridge')), (3, 1, dict(pct=20)))
    assert (c.recommended['head'], c.recommended.n_train) == ('ridge', 140) and '140 training images' in c.sentence()
    assert len(c.plot().axes[0].get_lines()) >= 2 and 'training images' in c.plot().axes[0].get_xlabel()

def test_from_the_command_line(parts, tmp_path, quickcls):
    r = quickcls('compare', parts, '--arch', arch, '--out', tmp_path/'c', '--offline')
    assert r.returncode == 0 and 'One scenario' in r.stdout and 'Train it:' in r.stdout and str(tmp_path/'c'/'compare.html') in r.stdout
