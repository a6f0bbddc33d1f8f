"Where the evidence lies: it adds up, it lies on the mark, it works for every kind of network and head, and a shortcut is noticed"
import json, re
from pathlib import Path
import numpy as np, pytest
from PIL import Image, ImageDraw
from tests.helpers import as_bytes, halves, image, with_orientation, write_folder

def marked(seed, at=None, size=120):
    "A smooth pattern, with a hatched patch of 20 pixels whose top left corner is `at`"
    im = image(seed, size, size)
    if at:
        draw = ImageDraw.Draw(im)
        draw.rectangle((*at, at[0] + 20, at[1] + 20), fill='black')
        for k in range(0, 20, 5): draw.line((at[0] + k, at[1], at[0] + k, at[1] + 20), fill='yellow', width=2)
    return im

def place(seed): return tuple(int(v) for v in np.random.default_rng((7, seed)).integers(0, 100, 2))

def draw_set(root, where, n=36):
    "`mark` and `none`; `where` gives the place of the mark by number"
    for label in ('mark', 'none'):
        (root/label).mkdir(parents=True)
        for i in range(n): marked((label == 'mark', i), where(i) if label == 'mark' else None).save(root/label/f'{i:02}.png')
    return root

@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    "Two sets whose classes differ by a mark: anywhere, and always in the top left corner"
    root = tmp_path_factory.mktemp('marks')
    return dict(anywhere=draw_set(root/'anywhere', place), corner=draw_set(root/'corner', lambda i: (2, 2)))

@pytest.fixture(scope='module')
def models(sets, tmp_path_factory):
    "Function: set and head → a classifier trained on it"
    from quickcls.all import train
    root, made = tmp_path_factory.mktemp('models'), {}
    def get(name, head='linear', **kw):
        key = f'{name}-{head.replace(":", "-")}-{len(kw)}'
        if key not in made:
            made[key] = train(
                sets[name], out=root / key, arch='efficientnet_lite0', head=head, quiet=True, **(dict(folds='0', epochs=6) | kw)
            )
        return made[key]
    return get

# arithmetic

@pytest.mark.parametrize(
    'head,levels,arch',
    [
        ('linear', 'all', 'efficientnet_lite0'),
        ('linear', 'last', 'efficientnet_lite0'),
        ('linear', 'all', 'efficientnet_lite0@128+efficientnet_lite0'),
        ('views', 'all', 'efficientnet_lite0@128+efficientnet_lite0'),
    ],
)
def test_the_cells_add_up_to_the_answer(sets, tmp_path, head, levels, arch):
    "A head of one linear layer: cells, what has no place and the score of a usual image sum to the log-odds that `predict` gives"
    from quickcls.all import train
    from quickcls.explain.attribution import look
    clf = train(sets['anywhere'], out=tmp_path/'m', arch=arch, head=head, levels=levels, folds='0', quiet=True)
    heat, p = clf.explain(marked(1, (30, 60)), 'mark'), clf.predict(marked(1, (30, 60)), k=2)
    usual = clf.head.logits(clf.head.arrays['0.running_mean'][None])[0]/clf.temperature
    probability = {t['label']: t['probability'] for t in p.top}
    seen, = look(clf, [s[None] for s in clf.prepare(marked(1, (30, 60)))])
    assert heat.exact and heat.probability == pytest.approx(probability['mark'], abs=2e-3) # another graph, rounded elsewhere
    assert heat.cells.sum() + heat.nowhere + usual[0] - usual[1] == pytest.approx(seen.logits[0] - seen.logits[1], abs=1e-3)

def test_of_several_classes_each_is_compared_with_the_others():
    from quickcls.explain.evidence import comparison, gradient
    from quickcls.heads.head import Head
    rng = np.random.default_rng(0)
    arrays = {
        '0.running_mean': rng.normal(size=5),
        '0.running_var': rng.random(5) + 0.5,
        '2.weight': rng.normal(size=(8, 5)),
        '4.weight': rng.normal(size=(3, 8)),
        '4.bias': rng.normal(size=3),
    }
    head = Head(
        'mlp:8',
        [dict(kind='batchnorm', eps=1e-5), dict(kind='dropout', p=0.5), dict(kind='linear'), dict(kind='relu'), dict(kind='linear')],
        arrays,
    )
    x = rng.normal(size=5)

    def score(x):
        z = head.logits(x)
        return z[1] - np.log(np.exp(z[0]) + np.exp(z[2]))

    numeric = [(score(x + d) - score(x - d))/2e-6 for d in np.eye(5)*1e-6]
    assert gradient(head, x, comparison(head.logits(x), 1)) == pytest.approx(numeric, abs=1e-5)

@pytest.mark.parametrize('head', ['linear', 'fastai', 'mlp:20'])
def test_the_peak_lies_on_the_mark(models, head):
    "On images that were not trained on; finer, and by occlusion, too"
    clf, hits = models('anywhere', head), dict(cam=0, fine=0, occlusion=0)
    for i in range(8):
        x, y = place(100 + i)
        for kind, kw in dict(cam={}, fine=dict(size=448), occlusion=dict(method='occlusion')).items() if i < 4 else [('cam', {})]:
            heat = clf.explain(marked((5, i), (x, y)), 'mark', **kw)
            left, top, right, bottom = heat.peak
            cell = 120/len(heat.cells)
            hits[kind] += left - cell <= x + 20 and x <= right + cell and top - cell <= y + 20 and y <= bottom + cell
            assert heat.exact == (head == 'linear' and kind == 'cam') and len(heat.cells) == (14 if kind == 'fine' else 7)
    assert hits['cam'] >= 7 and hits['fine'] >= 3 and hits['occlusion'] >= 3, hits

# images

def test_places_are_those_of_the_upright_photo(models):
    "Turned by EXIF; `crop` sees the middle only, `pad` more than there is"
    from quickcls.data.images import covered
    turned = as_bytes(halves('red', 'blue').resize((80, 40)), exif=with_orientation(6))
    heat = models('anywhere').explain(turned)
    assert (heat.width, heat.height) == (40, 80) and heat.overlay(200).size == (100, 200)
    assert (
        covered(300, 100, 'squish') == (0, 0, 300, 100)
        and covered(300, 100, 'crop') == (100, 0, 200, 100)
        and covered(300, 100, 'pad') == (0, -100, 300, 200)
    )
    for resize in ('crop', 'pad'):
        heat.resize = resize
        left, top, right, bottom = heat.peak
        assert 0 <= left <= right <= 40 and 0 <= top <= bottom <= 80 and heat.overlay(200).size == (100, 200)

def test_an_overlay_takes_milliseconds(models):
    import time
    heat = models('anywhere').explain(image(3, 1600, 1200))

    def seconds():
        t = time.thread_time()
        heat.overlay(640)
        return time.thread_time() - t  # its own, whatever else the machine does

    assert min(seconds() for _ in range(5)) < .03

# the command

def test_the_command_writes_a_figure_or_json(models, tmp_path, capsys):
    from quickcls.explain.heatmap import explain
    marked(3, (70, 20)).save(tmp_path/'p.png')
    heat = explain(str(models('anywhere').path), str(tmp_path/'p.png'), out=str(tmp_path/'heat.png'), label='none', against='mark')
    assert Image.open(tmp_path/'heat.png').width > 800 and re.search('none.*mark', capsys.readouterr().out) and heat.against == 'mark'
    explain(str(models('anywhere').path), str(tmp_path/'p.png'), json=True)
    d = json.loads(capsys.readouterr().out)
    assert d['label'] == 'mark' and np.shape(d['cells']) == (7, 7) and d['exact'] and len(d['peak']) == 4
    for name in ('heat.svg', 'heat.jpg'):
        explain(str(models('anywhere').path), str(tmp_path / 'p.png'), out=str(tmp_path / name))
        assert (tmp_path / name).stat().st_size > 5000


@pytest.mark.parametrize(
    'change,match',
    [
        (dict(label='marks'), 'mark'),
        (dict(against='x'), "'x'"),
        (dict(label='mark', against='mark'), 'against'),
        (dict(size=100), '224'),
        (dict(size=9000), '896'),
        (dict(method='magic'), 'cam.*occlusion'),
        (dict(out='heat.docx'), 'suffix'),
        (dict(out='gone/heat.png'), 'gone.*written'),
        (dict(image='.'), 'a folder'),
        (dict(image='gone.png'), 'gone.png.*No such file'),
        (dict(image='text.png'), 'text.png.*not an image'),
        (dict(out='p.png'), 'replace.*p.png'),
        (dict(model='gone'), 'no classifier.*gone|gone.*no classifier'),
    ],
)
def test_bad_input_is_named(models, tmp_path, monkeypatch, change, match):
    from quickcls.all import QuickclsError
    from quickcls.explain.heatmap import explain
    monkeypatch.chdir(tmp_path)
    marked(1).save('p.png')
    (tmp_path / 'text.png').write_text('nothing to see')
    given = dict(model=str(models('anywhere').path), image='p.png') | change
    with pytest.raises(QuickclsError, match=match) as e: explain(given.pop('model'), given.pop('image'), **given)
    assert '\n' not in str(e.value)

def test_a_damaged_graph_is_named(models, tmp_path):
    import shutil
    from quickcls.all import Classifier, QuickclsError
    shutil.copytree(models('anywhere').path, tmp_path/'m')
    (tmp_path/'m'/'model.onnx').write_bytes(b'no graph')
    with pytest.raises(QuickclsError, match='model.onnx'): Classifier.load(tmp_path/'m').explain(marked(1))

def test_explaining_needs_no_torch(models, python, tmp_path):
    marked(1, (50, 50)).save(tmp_path/'p.png')
    code = (
        'import sys; from quickcls.explain.heatmap import explain; explain(sys.argv[1], sys.argv[2], '
        'out=sys.argv[3], size=300); print([m for m in ("torch", "timm", "fastai", "sklearn", "pandas", '
        '"onnx") if m in sys.modules])'
    )
    assert python(code, models('anywhere').path, tmp_path/'p.png', tmp_path/'heat.png').strip().endswith('[]')

# focus

def test_a_shortcut_in_a_corner_is_noticed(models):
    "In focus.json, on the page with the images that show it, and in the card; a mark that lies anywhere is none"
    clf = models('corner')
    focus = json.loads((clf.path/'focus.json').read_text())
    assert any('mark' in w and 'top left' in w for w in focus['warnings']) and focus['looked'] <= 48
    page, card = (clf.path/'report.html').read_text(), (clf.path/'README.md').read_text()
    assert 'id="focus"' in page and 'top left corner' in page and 'top left corner' in card and len(page) < 5e6
    assert json.loads((models('anywhere').path/'focus.json').read_text())['warnings'] == []

def test_names_are_text_and_images_can_be_left_out(tmp_path):
    from quickcls.all import train
    root = write_folder(tmp_path/'set', **{'<img src=x onerror=alert(1)>': 8, 'b & c': 8})
    page = (train(root, out=tmp_path/'m', arch='efficientnet_lite0', folds='0', no_images=True, quiet=True).path/'report.html').read_text()
    assert 'id="focus"' in page and '<img src=x' not in page and 'data:image' not in page

def test_heat_maps_lie_on_real_defects(photos, tmp_path):
    "magnetic_tile, one split: the strongest cell of the defects that were named right, against chance"
    import pandas as pd
    from quickcls.all import train
    from tests.benchmarks.heat_maps import hits
    root = photos('magnetic_tile')
    clf = train(root/'images', out=tmp_path/'m', arch='efficientnet_lite0', folds='0', valid_pct=.4, quiet=True)
    t = pd.read_csv(tmp_path/'m'/'predictions.csv')
    t, found, chance = t[(t.split == 'valid') & (t.label == t.predicted) & (t.label != 'MT_Free')], [], []
    for p, label in zip(t.path, t.label):
        mask = np.asarray(Image.open(root/'masks'/label/f'{p.split("/")[-1].rsplit(".", 1)[0]}.png').convert('L')) > 127
        beside, _ = hits(mask, 7)
        found.append(beside.flat[clf.explain(root/'images'/label/Path(p).name).cells.argmax()])
        chance.append(beside.mean())
    assert len(found) > 15 and np.mean(found) >= .8 and np.mean(chance) < .45
