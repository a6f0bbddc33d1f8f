"Training on changed copies: taken where they win under change and cost nothing, told in a sentence, refused where it cannot be"
import json
import numpy as np, pytest
from PIL import Image
from quickcls.all import train
from quickcls.stress.changes import changed
from quickcls.stress import robust
from tests.helpers import image, repo, some_parts

lite0 = dict(arch='efficientnet_lite0', quiet=True, offline=True)

def stripes(upright, bright, i):
    "A photo-like pattern under stripes, dark or bright"
    at = np.arange(96)[None, :, None] if upright else np.arange(96)[:, None, None]
    wave = 1 + .5*np.sin(at*(.6 + .02*i) + i)
    lit = np.array(image((i, 3), 96, 96)).mean(2, keepdims=True)*wave*(1.2 if bright else .35)
    return np.clip(lit, 0, 255).astype(np.uint8).repeat(3, 2)

@pytest.fixture(scope='module')
def lamps(tmp_path_factory):
    "Upright stripes were photographed under a bright lamp, level ones under a dark one"
    root = tmp_path_factory.mktemp('lamps')
    for label, upright in (('upright', True), ('level', False)):
        (root/label).mkdir()
        for i in range(24): Image.fromarray(stripes(upright, upright, i)).save(root/label/f'{i}.png')
    return root

def test_copies_help_on_images_that_were_never_seen(tmp_path):
    "Parts of the drawn set, in another light, noisy, turned: at least 5 points more are right; the result and the report say what was done"
    folder, arch = some_parts(tmp_path/'parts', slice(30)), dict(lite0, arch='efficientnet_lite0@128')
    plain, taught = (train(folder, out=tmp_path/str(r), robust=r, **arch) for r in (False, True))
    new = [(p, label) for label in ('defect', 'ok') for p in sorted((repo/'datasets'/'parts'/label).glob('*.jpg'))[40:60]]
    squares, y = [np.array(Image.open(p).convert('RGB').resize((224, 224))) for p, _ in new], [label for _, label in new]
    def right(clf, name): return np.mean([p.label == t for p, t in zip(clf.predict_many([changed(q, name, 2) for q in squares]), y)])
    def mean(clf): return np.mean([right(clf, name) for name in ('brighter', 'noisy', 'jpeg', 'small', 'turned')])
    assert mean(taught) >= mean(plain) + .05
    note, = [n for n in json.loads((taught.path/'metrics.json').read_text())['notes'] if n.startswith('--robust')]
    assert note.startswith('--robust trained on') and '--robust trained on' in (taught.path/'report.html').read_text()
    assert not any(n.startswith('--robust') for n in json.loads((plain.path/'metrics.json').read_text())['notes'])

def test_the_choice_costs_hardly_anything():
    "A way that loses more than half a point is not taken, however much it wins; nor one that wins less than a point"
    ways = {None: (.9, np.array([.5, .6])), (1, 1): (.894, np.array([.9, .9])), (2, 1): (.9, np.array([.5, .61]))}
    assert robust.best_way(ways) is None
    assert robust.best_way(ways | {(4, 1): (.896, np.array([.7, .7])), (4, 2): (.92, np.array([.6, .7]))}) == (4, 1)
    told = str(robust.Robust(['noisy'], (.9, .55), tried=2))
    assert 'used no changed copies' in told and '55.0%' in told and '90.0%' in told
    assert 'no change costs more than 5%' in str(robust.Robust([], (.9, .88)))

def test_copies_stay_in_the_fold_of_their_image(monkeypatch):
    "No head is asked about an image, or its copy, that it learned from"
    from quickcls.heads import fit
    seen, x = [], np.arange(40, dtype=np.float32)[:, None]*np.ones(3, np.float32)
    y, rows = np.arange(40) % 2, np.arange(40)
    real = fit.fit_head
    def spy(kind, train, valid, **kwargs):
        seen.append((set((train[0][:, 0] % 100).tolist()), set(valid[0][:, 0].tolist())))
        return real(kind, (train[0].copy(), train[1]), valid, **kwargs)
    monkeypatch.setattr(robust, 'fit_head', spy)
    found = robust.compare_ways(x, y, rows, {None: None, 'copies': (x + 100, rows)}, (x[None] + 100, rows), n_out=2, c=.1)
    assert len(seen) == 20 and not any(a & b for a, b in seen)
    assert set(found) == {None, 'copies'} and found['copies'][1].shape == (1,)

def test_what_cannot_be_combined_is_told_in_one_line(lamps, tmp_path, quickcls):
    "Other copies, a network that is trained, no folds, several labels, embeddings without images"
    several, parts = 'one label an image', '--robust needs the images'
    for words, what in ((('--augment', '4'), '--augment 4'), (('--strategy', 'partial'), '--strategy partial'),
                        (('--folds', '0'), '--folds 0'), (('--label-separator', ' '), several), (('--embeddings', tmp_path/'e'), parts)):
        r = quickcls('train', lamps, '--out', tmp_path/'m', '--robust', *words)
        assert r.returncode == 1 and what in r.stderr and len(r.stderr.strip().splitlines()) == 1, (words, r.stderr)

def test_a_head_for_each_view_stays_one(lamps, tmp_path, monkeypatch):
    "Every head that ways are compared by has a part for each view, as the one that is trained at the end"
    from quickcls.heads import fit
    seen, real = [], fit.fit_head
    def spy(kind, *args, **kwargs):
        head = real(kind, *args, **kwargs)
        seen.append((head.kind, head.notes['widths']))
        return head
    monkeypatch.setattr(robust, 'fit_head', spy)
    views = dict(lite0, arch='efficientnet_lite0@64+efficientnet_lite0@96')
    clf = train(lamps, out=tmp_path/'m', robust=True, head='views', **views)
    assert len(clf.head.notes['widths']) == 2 and {(k, tuple(w)) for k, w in seen} == {('views', tuple(clf.head.notes['widths']))}

def test_visual_words_learn_from_copies_too(lamps, tmp_path):
    "The classic method, without a network"
    assert train(lamps, out=tmp_path/'m', robust=True, arch='akaze-bow-svm', quiet=True, offline=True).path.is_dir()

def test_stress_names_it_as_what_would_help():
    "With the change that costs most; not to a classifier that was trained so, nor where nothing falls"
    from quickcls.stress.words import what_helps
    rows = [dict(change=c, strength=2, accuracy=a) for c, a in (('grey', .8), ('noisy', .5), ('turned', .89))]
    found = dict(chance=.5, clean=dict(accuracy=.9), rows=rows)
    assert '--robust' in what_helps(found)[-1] and 'sensor noise' in what_helps(found)[-1]
    assert not any('--robust' in h for h in what_helps(found | dict(robust=True))) and what_helps(found | dict(rows=rows[2:])) == []
