"Training on changed copies: taken where they win under change and cost nothing, told in a sentence, refused where it cannot be"
import json
import numpy as np, pytest
from PIL import Image
from quickcls.all import train
from quickcls.stress.changes import changed
from quickcls.stress import robust
from tests.helpers import image

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

def test_copies_help_where_light_changes(lamps, tmp_path):
    "The light of the other class: a head that saw changed copies holds better; the sentence is in the result and in the report"
    plain, taught = (train(lamps, out=tmp_path/str(r), robust=r, **lite0) for r in (False, True))
    y = [label for label in ('upright', 'level') for _ in range(12)]
    other = [changed(np.array(Image.fromarray(stripes(label == 'upright', label == 'upright', 40 + i)).resize((224, 224))), name, 2)
             for label, name in (('upright', 'darker'), ('level', 'brighter')) for i in range(12)]
    def right(clf): return np.mean([p.label == label for p, label in zip(clf.predict_many(other), y)])
    assert right(taught) >= right(plain)
    note, = [n for n in json.loads((taught.path/'metrics.json').read_text())['notes'] if n.startswith('--robust')]
    assert '--robust' in (taught.path/'report.html').read_text() and 'under change' in note
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
    found = robust.judged(x, y, rows, {None: None, 'copies': (x + 100, rows)}, (x[None] + 100, rows), n_out=2, c=.1)
    assert len(seen) == 20 and not any(a & b for a, b in seen)
    assert set(found) == {None, 'copies'} and found['copies'][1].shape == (1,)

def test_what_cannot_be_combined_is_told_in_one_line(lamps, tmp_path, quickcls):
    "Other copies, a network that is trained, no folds, several labels, embeddings without images"
    several, parts = 'one label an image', '--robust needs the images'
    for words, what in ((('--augment', '4'), '--augment 4'), (('--strategy', 'partial'), '--strategy partial'),
                        (('--folds', '0'), '--folds 0'), (('--label-separator', ' '), several), (('--embeddings', tmp_path/'e'), parts)):
        r = quickcls('train', lamps, '--out', tmp_path/'m', '--robust', *words)
        assert r.returncode == 1 and what in r.stderr and len(r.stderr.strip().splitlines()) == 1, (words, r.stderr)

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
