"The head `views`: a ridge head for each view, and the mean of their logits, in one linear layer"
import numpy as np, pandas as pd, pytest
from tests.helpers import files_of
from quickcls.all import Classifier, train
from quickcls.backbones.registry import parse_views
from quickcls.core import QuickclsError
from quickcls.data.items import class_numbers, scan_folder
from quickcls.features.embed import Embeddings
from quickcls.features.extractors import get_extractors
from quickcls.heads.crossval import cross_validate
from quickcls.heads.fit import fit_head
from quickcls.heads.head import softmax
from quickcls.heads.linear import fit_ridge
from quickcls.stress.correctness import fit_sets

arch = 'efficientnet_lite0+efficientnet_lite0@320'

def split(x, widths): return np.split(x, np.cumsum(widths)[:-1], 1)

def test_the_saved_classifier_says_the_mean_of_the_heads_of_its_views(photos, tmp_path):
    "Probabilities of the saved folder, of the table beside it, and of a ridge head for each view, fitted here; checked as any head is"
    clf = train(photos('bears_web'), out=tmp_path/'m', arch=arch, head='views', folds='3', quiet=True)
    t, notes = pd.read_csv(clf.path/'predictions.csv'), clf.head.notes
    squares, y = [clf.prepare(f) for f in files_of(clf, t.path)], class_numbers(t.label, clf.vocab)
    x = np.concatenate([clf.embed([np.stack(b) for b in zip(*squares[i:i+8])]) for i in range(0, len(t), 8)])
    own, held = (t.split == 'train').to_numpy(), (t.split != 'train').to_numpy()
    parts, groups = split(x, notes['widths']), t.group.to_numpy().astype(str)
    logits = [fit_ridge(v[own], y[own], groups=groups[own], c=notes['C']).logits(v[held]) for v in parts]
    want = softmax(np.mean(logits, 0)/clf.temperature)
    saved = Classifier.load(clf.path).predict(files_of(clf, t.path[held]), k=len(clf.vocab))
    got = np.array([[{a['label']: a['probability'] for a in p.top}[c] for c in clf.vocab] for p in saved])
    np.testing.assert_allclose(got, want, atol=.02) # the store keeps 16 bits
    np.testing.assert_allclose(t.loc[held, [f'p_{c}' for c in clf.vocab]], want, atol=.02)
    assert clf.trust.cross_validation['accuracy'] > .9 and clf.open_set is not None and clf.temperature > 0
    assert fit_sets(x, y, groups, kind='views', c=notes['C'], widths=notes['widths'])['plain'][2].mean() > .9

def test_it_is_as_good_as_one_head_on_all_columns(photos):
    "Cross-validated on photographs of flowers; where nothing is known of views, all columns are one"
    items = scan_folder(photos('flowers'))
    e = Embeddings(get_extractors(parse_views(arch), items.table.path, offline=True))
    e.embed(items)
    x, y, groups = e.read(items.table), class_numbers(items.table.label, items.vocab), items.table.group.to_numpy()
    def accuracy(x, head, **how): return cross_validate(x, y, groups, n_out=len(items.vocab), head=head, repeats=1, c=10., **how).accuracy
    one = accuracy(x, 'ridge')
    assert accuracy(x, 'views') == one
    assert accuracy(x, 'views', widths=e.widths) >= max(one - .01, accuracy(split(x, e.widths)[0], 'ridge'))

def test_columns_that_do_not_fit_are_refused():
    x, y = np.zeros((6, 5), np.float32), np.arange(6) % 2
    with pytest.raises(QuickclsError, match='4 columns, the embeddings 5'): fit_head('views', (x, y), (x, y), n_out=2, widths=[2, 2])
