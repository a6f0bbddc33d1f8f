"Many classes: figures of bounded size, and a classifier that no figure can cost"
import json
import numpy as np, pandas as pd, pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from quickcls.evaluate.diagnostics import check
from quickcls.evaluate.plots import folded, plot_confusion_matrix
from quickcls.evaluate.style import save_figure
from quickcls.heads.linear import fit_linear, fit_logistic, standardised
from quickcls.heads.head import fit_many
from quickcls.model.classifier import Classifier
from quickcls.report.page import write_report
from quickcls.train.pipeline import train
from tests.helpers import some_parts

lite0 = dict(arch='efficientnet_lite0', offline=True)

def counts_of(n, mistakes=()):
    "A confusion matrix: three images of each class right, and `mistakes` (actual, predicted, number)"
    names = [f'class {i:03}' for i in range(n)]
    c = 3*np.eye(n, dtype=int)
    for a, p, k in mistakes: c[a, p] += k
    return pd.DataFrame(c, pd.Index(names, name='actual'), pd.Index(names, name='predicted'))

def pixels(fig, path):
    save_figure(fig, path)
    return Image.open(path).size

def test_a_matrix_of_400_classes_has_bounded_pixels_and_names_what_it_shows(tmp_path):
    sizes = [pixels(plot_confusion_matrix(counts_of(n, [(n - 1, n - 2, 5)])), tmp_path/f'{n}.png') for n in (50, 400, 1500)]
    assert max(w*h for w, h in sizes) < 5e6 and abs(sizes[1][0] - sizes[2][0]) < 30
    fig = plot_confusion_matrix(counts_of(400, [(390, 395, 5)]), 'all of them')
    assert 'the 49 of 400 classes with the most mistakes' in fig.get_suptitle().replace('\n', ' ')
    names = [t.get_text() for t in fig.axes[0].get_yticklabels()]
    assert {'class 390', 'class 395', '351 other classes'} <= set(names) and len(names) == 50

def test_a_matrix_of_up_to_50_classes_is_whole():
    counts = counts_of(50, [(0, 1, 2)])
    part, place = folded(counts)
    pd.testing.assert_frame_equal(part, counts)
    assert place.tolist() == list(range(50)) and 'most mistakes' not in (plot_confusion_matrix(counts).get_suptitle() or '')

@pytest.mark.parametrize('classes', [2, 13, 40])
def test_hits_and_mistakes_have_two_hues_and_classes_without_images_are_grey(tmp_path, classes):
    counts = counts_of(classes, [(0, 1, 2)])
    counts.iloc[-1] = 0
    fig = plot_confusion_matrix(counts)
    colours = np.asarray(fig.axes[0].images[0].get_array())
    (red, _, blue, opacity), (other_red, _, other_blue, _) = colours[0, 1], colours[0, 0]
    assert red > blue and other_red < other_blue and opacity > .3
    assert len(np.unique(colours[-1], axis=0)) == 1 and colours[-1, 0, :3].max() == 0 and colours[-1, 0, 3] < .2
    assert fig.axes[0].get_yticklabels()[-1].get_text() == f'class {classes - 1:03} (no images)'
    assert [t.get_text() for t in fig.axes[0].get_legend().get_texts()] == ['right', 'a mistake', 'class without images']
    assert all(t.get_fontsize() >= 4.5 for t in fig.axes[0].texts)
    assert max(pixels(fig, tmp_path/'a.png')) < 2200

def test_folding_keeps_every_image():
    counts = counts_of(60, [(i, (i*7) % 60, i % 4) for i in range(60)])
    part, place = folded(counts, 10)
    assert part.to_numpy().sum() == counts.to_numpy().sum() and part.shape == (10, 10)
    for label in part.index[:-1]:
        assert part.loc[label].sum() == counts.loc[label].sum() and part.loc[label, label] == counts.loc[label, label]

reports = {'quickcls.evaluate.plots.plot_confusion_matrix': 'confusion_matrix.png', 'quickcls.report.page.render_report': 'report.html',
           'quickcls.train.pipeline.focus': 'heat maps', 'quickcls.train.pipeline.neighbours': 'neighbours.csv',
           'quickcls.evaluate.diagnostics.learning_curve': 'the learning curve', 'quickcls.evaluate.none_of_these.left_out': 'left out'}
drawn = ('confusion_matrix.png', 'report.html', 'heat maps')

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "A training in which whatever only draws or reports fails: (its folder, an image, what was said, what was saved at each failure)"
    root, said, there = tmp_path_factory.mktemp('fails'), [], {}
    parts, out = some_parts(root/'parts', slice(0, 24)), root/'m'
    def failing(what):
        def fail(*args, **kwargs):
            there[what] = (out/'classifier.json').is_file()
            raise MemoryError('Unable to allocate 6 GiB')
        return fail
    with pytest.MonkeyPatch.context() as m:
        for where, what in reports.items(): m.setattr(where, failing(what))
        m.setattr('builtins.print', lambda *text, **kw: said.append(' '.join(map(str, text))))
        train(parts, out=out, **lite0)
    return out, next(parts.glob('ok/*.jpg')), said, there

def test_what_only_draws_or_reports_does_not_cost_the_classifier(trained):
    out, photo, said, there = trained
    lines = [line for text in said for line in text.splitlines() if 'not enough memory' in line]
    for what in reports.values(): assert len([line for line in lines if what in line]) == 1, (what, lines)
    clf = Classifier.load(out)
    assert clf.predict(photo).top and json.loads((out/'metrics.json').read_text())['n'] == clf.evaluate().n
    assert (out/'README.md').is_file() and not (out/'report.html').exists() and not list(out.glob('.*'))

def test_the_classifier_is_there_before_anything_is_drawn(trained): assert {k: trained[3][k] for k in drawn} == dict.fromkeys(drawn, True)

def test_a_figure_that_fails_is_missing_from_the_page_and_named(trained, tmp_path, monkeypatch):
    monkeypatch.setattr('quickcls.evaluate.diagnostics.Trust.plot_reliability', lambda self: 1/0)
    said = []
    page = write_report(trained[0], out=tmp_path/'page.html', say=said.append).read_text()
    assert [line for line in said if 'figure' in line] == ['the figure reliability could not be made: ZeroDivisionError: division by zero']
    assert '<svg' in page and 'id="sure"' in page

def test_many_classes_are_fitted_as_scikit_learn_fits_them():
    rng, y = np.random.default_rng(0), np.repeat(np.arange(110), 4)
    x = (rng.normal(size=(110, 40))[y] + .7*rng.normal(size=(440, 40))).astype(np.float32)
    for weight in (None, 'balanced'):
        rows = np.arange(440) % 4 < 2 + y % 2 # two or three images of a class
        ours = fit_many(x[rows], y[rows], .1, weight, tol=1e-9)
        theirs = LogisticRegression(C=.1, max_iter=2000, tol=1e-8, class_weight=weight)
        p = theirs.fit(x[rows], y[rows]).predict_proba(x[~rows])
        assert np.abs(ours.predict_proba(x[~rows]) - p).max() < .01 and p.max() > .5
    assert type(fit_logistic(x[y < 100], y[y < 100], .1)).__name__ == 'LogisticRegression' # up to a hundred nothing changes

def test_a_head_of_many_classes_is_one_for_the_whole_embedding():
    rng, y = np.random.default_rng(0), np.repeat(np.arange(150), 3)
    x = (rng.normal(size=(150, 700))[y] + rng.normal(size=(450, 700))).astype(np.float32)
    test = np.arange(450) % 3 == 0
    head = fit_linear(x[~test], y[~test])
    assert head.n_in == 700 and (head.logits(x[test]).argmax(1) == y[test]).mean() > .9

def test_checks_of_many_classes_are_cut_and_say_so(monkeypatch):
    rng, y = np.random.default_rng(0), np.repeat(np.arange(120), 3)
    x = (rng.normal(size=(120, 30))[y] + .5*rng.normal(size=(360, 30))).astype(np.float32)
    names, key = [f'c{i:03}' for i in range(120)], [f'{i:064x}' for i in range(360)]
    rows = pd.DataFrame(dict(path=key, label=[names[i] for i in y], split='train', sha256=key, group=key))
    monkeypatch.setattr('quickcls.heads.crossval.most_work', 1e8)
    monkeypatch.setattr('quickcls.evaluate.diagnostics.most_work', 1e8)
    trust, table, cv = check(rows, x, names, c=.1)
    assert cv.fold.shape[0] == 1 and trust.learning_curve is None and len(table) == 360
    note, = [w for w in trust.warnings if '120 classes take long' in w]
    assert 'in place of 5 × 2' in note and 'no learning curve' in note and '--folds 5x2' in note
    assert check(rows, x, names, c=.1, folds='2x2')[0].cross_validation['repeats'] == 2 # as asked for

def test_standardising_in_parts_gives_the_same_digits():
    x = (np.random.default_rng(0).normal(size=(1500, 300))*np.linspace(.01, 3, 300)).astype(np.float32)
    z, mean, var = standardised(x)
    whole = np.maximum(x.var(0, dtype=np.float64), np.median(x.var(0, dtype=np.float64))/100)
    assert (var == whole).all() and (mean == x.mean(0, dtype=np.float64)).all()
    assert (z == ((x - mean)/np.sqrt(whole)).astype(np.float32)).all()
    assert standardised(x, overwrite=True)[0] is x and (x == z).all()
