"Many classes: figures of bounded size, and a classifier that no figure can cost"
import json
import numpy as np, pandas as pd, pytest
from PIL import Image
from quickcls.evaluate.plots import folded, plot_confusion_matrix
from quickcls.evaluate.style import save_figure
from quickcls.model.classifier import Classifier
from quickcls.train.pipeline import train
from tests.helpers import some_parts, write_folder

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

def test_folding_keeps_every_image():
    counts = counts_of(60, [(i, (i*7) % 60, i % 4) for i in range(60)])
    part, place = folded(counts, 10)
    assert part.to_numpy().sum() == counts.to_numpy().sum() and part.shape == (10, 10)
    for label in part.index[:-1]: assert part.loc[label].sum() == counts.loc[label].sum() and part.loc[label, label] == counts.loc[label, label]

@pytest.fixture(scope='module')
def parts(tmp_path_factory): return some_parts(tmp_path_factory.mktemp('parts')/'parts', slice(0, 24))

@pytest.mark.parametrize('where, what', [('quickcls.evaluate.plots.plot_confusion_matrix', 'confusion_matrix.png'),
                                         ('quickcls.report.page.render_report', 'report.html'),
                                         ('quickcls.train.pipeline.focus', 'heat maps'),
                                         ('quickcls.train.pipeline.neighbours', 'neighbours.csv'),
                                         ('quickcls.evaluate.diagnostics.learning_curve', 'learning curve'),
                                         ('quickcls.evaluate.none_of_these.left_out', 'left out')])
def test_what_only_draws_or_reports_does_not_cost_the_classifier(parts, tmp_path, monkeypatch, capsys, where, what):
    def fail(*args, **kwargs): raise MemoryError('Unable to allocate 6 GiB')
    monkeypatch.setattr(where, fail)
    train(parts, out=tmp_path/'m', **lite0)
    said = [line for line in capsys.readouterr().out.splitlines() if 'not enough memory' in line]
    assert len(said) == 1 and what in said[0], said
    clf = Classifier.load(tmp_path/'m')
    assert clf.predict(next(parts.glob('ok/*.jpg'))).top and json.loads((tmp_path/'m'/'metrics.json').read_text())['n'] == clf.evaluate().n
    assert (tmp_path/'m'/'README.md').is_file() and not list((tmp_path/'m').glob('.*'))
    assert (tmp_path/'m'/'report.html').is_file() == (what != 'report.html')

def test_the_classifier_is_there_before_anything_is_drawn(parts, tmp_path, monkeypatch):
    def killed(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr('quickcls.train.pipeline.draw_beside', killed)
    with pytest.raises(KeyboardInterrupt): train(parts, out=tmp_path/'m', quiet=True, **lite0)
    assert Classifier.load(tmp_path/'m').evaluate().n > 0

def test_a_figure_of_the_page_that_fails_leaves_the_page(parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('quickcls.evaluate.diagnostics.Trust.plot_reliability', lambda self: 1/0)
    train(parts, out=tmp_path/'m', **lite0)
    assert 'the figure reliability could not be made: ZeroDivisionError' in capsys.readouterr().out
    assert '<svg' in (tmp_path/'m'/'report.html').read_text()
