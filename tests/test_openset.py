"What is none of the classes is said to be none of them: on drawn parts, and on photographs where there are any"
import json, os, sys
import numpy as np, pytest
from quickcls.all import Classifier, QuickclsError, train
from quickcls.heads.open_set import combined
from tests.helpers import image, repo, write_folder

parts, lite0 = repo/'datasets'/'parts', dict(arch='efficientnet_lite0', quiet=True)
drawn = sorted((repo/'docs'/'parts').glob('*.jpg'))

@pytest.fixture(scope='module')
def clf(drawn, tmp_path_factory): return drawn(tmp_path_factory.mktemp('m'))

def test_known_images_are_kept_and_others_refused(clf):
    "Five in a hundred known ones may be refused; noise and smooth patterns are nothing like a part"
    held = clf.evaluate().table.known_score
    assert (held < clf.open_set.threshold).mean() <= .16 and clf.open_set.threshold == .05
    assert not any(p.unknown for p in clf.predict(drawn))
    noise = [np.random.default_rng(i).integers(0, 256, (60, 80, 3), dtype=np.uint8) for i in range(8)]
    answers = clf.predict([image(i) for i in range(8)] + noise)
    assert all(p.unknown and p.known_score < .05 for p in answers)
    assert all(abs(sum(t['probability'] for t in p.top) - 1) < 1e-3 for p in answers) # probabilities stay

def test_the_nearest_images_are_there(clf):
    "Named as they lie in the data folder, most similar first; a training image is most like itself"
    near = clf.predict(drawn[0]).nearest
    assert len(near) == 3 and all((parts/n['picture']).is_file() and n['picture'].startswith(n['label']) for n in near)
    assert near == sorted(near, key=lambda n: -n['similarity'])
    first = clf.open_set.images[0]
    own = clf.predict(parts/first).nearest[0]
    assert own['picture'] == first and own['similarity'] > .99
    assert set(clf.open_set.nearest_of_each_class(clf.embed([np.stack(b) for b in zip(clf.prepare(drawn[0]))]), clf.vocab)[0]) == set(
        clf.vocab
    )


@pytest.mark.parametrize('head, levels', [('linear', 'all'), ('linear', 'last'), ('fastai', 'all')])
def test_the_saved_classifier_and_the_live_one_agree(tmp_path, monkeypatch, head, levels):
    "On every score, before it is saved and after it is opened"
    live, module = [], sys.modules['quickcls.train.pipeline']
    class Kept(Classifier):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            live.append(self)

    monkeypatch.setattr(module, 'Classifier', Kept)
    saved = train(write_folder(tmp_path/'set', a=30, b=30), out=tmp_path/'m', head=head, levels=levels, epochs=3, **lite0)
    some = [image(i) for i in range(6)] + sorted((tmp_path/'set').rglob('*.png'))[::6]
    a, b = live[0].predict(some), Classifier.load(saved.path).predict(some)
    assert all(
        x.known_score is not None
        and abs(x.known_score - y.known_score) < 1e-4
        and x.unknown == y.unknown
        and [n['picture'] for n in x.nearest] == [n['picture'] for n in y.nearest]
        for x, y in zip(a, b)
    )


def test_json_says_it(quickcls, clf, tmp_path):
    image(3, 200, 150).save(tmp_path/'strange.png')
    lines = [json.loads(l) for l in quickcls('predict', clf.path, tmp_path/'strange.png', drawn[0], '--json').stdout.splitlines()]
    assert [l['unknown'] for l in lines] == [True, False] and lines[0]['known_score'] < .05 < lines[1]['known_score']
    assert set(lines[0]['nearest'][0]) == {'picture', 'label', 'similarity'} and lines[0]['top']
    assert quickcls('predict', clf.path, tmp_path/'strange.png').stdout.startswith('none of these')
    many = quickcls('predict', clf.path, tmp_path/'strange.png', drawn[0]).stdout.splitlines()
    assert 'none of these; ' in many[0] and 'none of these' not in many[1]

def test_what_is_kept_is_small():
    "Ten thousand images of the default embedding: five megabytes; of more images, ten thousand are drawn"
    from quickcls.heads.ood import fit_open_set
    rng = np.random.default_rng(0)
    x = rng.random((12_000, 3584), dtype=np.float32)
    o = fit_open_set(
        x, np.arange(12_000) % 40, [f'class {i % 40}/photo_{i:06}.jpg' for i in range(12_000)], rng.normal(0, 1, (500, 4)), [[0, 2560]]
    )
    assert len(o.images) == 10_000 and sum(a.nbytes for a in o.arrays.values()) <= 5e6
    many = fit_open_set(
        x[:3000], np.zeros(3000, int), ['a.jpg'] * 3000, rng.normal(0, 1, (500, 3)), [[0, 3584]]
    )  # of a wide one, as of several views, fewer directions
    assert sum(a.nbytes for a in many.arrays.values()) <= 5e6

def test_foreign_examples(quickcls, tmp_path):
    "Half of them teach, half of them test; known images among them are left out; too few are refused"
    write_folder(tmp_path/'set', a=24, b=24)
    other = tmp_path / 'other'
    (other / 'deep').mkdir(parents=True)
    for i in range(40): image((7, i), 24, 24).rotate(45).save(other/('deep' if i % 2 else '')/f'{i}.png')
    (other / 'known.png').write_bytes((tmp_path / 'set' / 'a' / '000.png').read_bytes())
    (other / 'note.txt').write_text('no image')
    clf = train(tmp_path/'set', out=tmp_path/'m', background=str(other), **lite0)
    told = clf.trust.open_set['background']
    assert (told['n_train'], told['n']) == (20, 20) and told['refused'] > .9 and 'background_weight' in clf.open_set.arrays
    p = quickcls('train', tmp_path/'set', '--arch', 'efficientnet_lite0', '--out', tmp_path/'m2', '--background', tmp_path/'set'/'a')
    assert p.returncode == 1 and '--background' in p.stderr
    p = quickcls('train', tmp_path/'set', '--arch', 'efficientnet_lite0', '--out', tmp_path/'m2', '--background', tmp_path/'nowhere')
    assert p.returncode == 1 and str(tmp_path/'nowhere') in p.stderr

def test_the_share_to_keep(quickcls, tmp_path):
    write_folder(tmp_path/'set', a=24, b=24)
    assert train(tmp_path/'set', out=tmp_path/'m', keep_known=.8, **lite0).open_set.threshold == .2
    for bad in ('1', '0.2', '195'):
        p = quickcls('train', tmp_path/'set', '--out', tmp_path/'m2', '--keep-known', bad)
        assert p.returncode == 1 and '--keep-known' in p.stderr

def test_near_kinds_are_told_apart_better(photos, tmp_path):
    "A flower that was left out of training is further from known ones than where all components count alike; as many of these are kept"
    for kind in ('daisy', 'rose', 'sunflower'): os.symlink(photos('flowers')/kind, tmp_path/kind)
    clf = train(tmp_path, out=tmp_path.parent/f'{tmp_path.name}-m', near_kinds=True, **lite0)
    known = clf.evaluate().table
    assert (known.known_score < clf.open_set.threshold).mean() <= .12
    new = sorted((photos('flowers')/'tulip').iterdir())
    x = [clf.embed([np.stack(v) for v in zip(*map(clf.prepare, paths))]) for paths in (known.path, new)]
    components = [clf.open_set.components(e, clf.head.logits(e)/clf.temperature) for e in x]
    near = clf.open_set.arrays['witnesses']
    def area(spread):
        old, new = (combined(c, spread) for c in components)
        return (old[:, None] > new).mean()
    alike = near.copy()
    alike[:, 2] = 1
    assert near[:, 2].tolist() == [1, .25, 1, .25, .25] and area(near) > area(alike) + .005

def test_where_nothing_is_known_of_strangeness(tmp_path):
    "Without cross-validation, or with too few images, `unknown` stays null"
    write_folder(tmp_path / 'set', a=24, b=24)
    write_folder(tmp_path / 'few', a=6, b=6)
    for folder, folds in (('set', '0'), ('few', 'auto')):
        clf = train(tmp_path/folder, out=tmp_path/f'm-{folder}', folds=folds, **lite0)
        p = clf.predict(image(1))
        assert clf.open_set is None and (p.unknown, p.known_score, p.nearest) == (None, None, None) and p.top

def test_damaged_numbers_are_refused(clf, tmp_path):
    import shutil
    from safetensors.numpy import load_file, save_file
    shutil.copytree(clf.path, tmp_path/'m')
    arrays = load_file(tmp_path/'m'/'weights.safetensors')
    for name, change in (
        ('open_set.rows', lambda a: a[:-1]),
        ('open_set.labels', lambda a: a + 9),
        ('open_set.late_basis', lambda a: a[:-5]),
    ):
        save_file(arrays | {name: np.ascontiguousarray(change(arrays[name]))}, tmp_path/'m'/'weights.safetensors')
        with pytest.raises(QuickclsError, match='statistics of the training images'): Classifier.load(tmp_path/'m')

def test_the_report_and_the_card_say_it(clf):
    page, card = ((clf.path/n).read_text() for n in ('report.html', 'README.md'))
    assert 'None of these' in page and 'None of these' in card and page.count('None of these') > 1

def test_flowers_against_other_photographs(photos, tmp_path):
    clf = train(photos('flowers'), out=tmp_path/'flowers', **lite0)
    foreign = [
        p
        for folder in ('casting/test/ok_front', 'dogs_angry_happy/happy', 'trashnet/glass')
        for p in sorted((photos('.') / folder).iterdir())[:20]
    ]
    assert np.mean([p.unknown for p in clf.predict(foreign)]) > .85
    assert (clf.evaluate().table.known_score < .05).mean() < .15
