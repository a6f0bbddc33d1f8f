"Several labels an image: read, learned, saved, asked on the command line; a stranger's folder; real posters"
import json, shutil
import numpy as np, pytest
from PIL import Image, ImageDraw
from quickcls.core import QuickclsError
from quickcls.model.classifier import Classifier
from quickcls.multilabel.classifier import LabelClassifier, load_labels
from quickcls.multilabel.fit import choose_thresholds, fit_sigmoids
from quickcls.multilabel.labels import label_folds, label_matrix, label_names, read_labels, split_labels
from quickcls.multilabel.answer import LabelAnswer, label_columns, label_row
from quickcls.multilabel.measures import LabelEvaluation, average_precision, chance_precision
from quickcls.multilabel.page import LabelFacts, write_label_card, write_label_report
from quickcls.multilabel.training import label_summary
from quickcls.train.pipeline import train
from tests.helpers import classifier_folder
from tests.test_hostile_classifier import change_json, refused, without_digests

lite0 = ('--arch', 'efficientnet_lite0', '--offline')

def draw_shapes(root, n=60, seed=0):
    "Drawings of a shape or none, in a colour or grey: two attributes that do not depend on each other; `lonely` is on one image"
    rng, lines = np.random.default_rng(seed), ['image,labels']
    (root/'images').mkdir(parents=True)
    for i in range(n):
        shape, colour = rng.choice(['square', 'disc', '']), rng.choice(['red', 'blue', 'grey'])
        im = Image.fromarray(rng.integers(200, 256, (64, 64, 3), dtype=np.uint8))
        x, y = rng.integers(4, 24, 2).tolist()
        if shape: getattr(ImageDraw.Draw(im), 'rectangle' if shape == 'square' else 'ellipse')([x, y, x + 32, y + 32], fill=str(colour))
        names = [s for s in (shape, colour if shape and colour != 'grey' else '', 'lonely' if i == 7 else '') if s]
        im.save(root/'images'/f'{i:03}.png')
        lines.append(f'{i:03}.png,{" ".join(names)}')
    (root/'labels.csv').write_text('\n'.join(lines))
    return root

@pytest.fixture(scope='module')
def shapes(tmp_path_factory): return draw_shapes(tmp_path_factory.mktemp('shapes')/'shapes')

@pytest.fixture(scope='module')
def trained(shapes):
    "A classifier of the drawings, saved"
    return train(str(shapes), label_separator=' ', arch='efficientnet_lite0', offline=True, quiet=True, out=str(shapes.parent/'model'))

@pytest.fixture
def folder(trained, tmp_path): return shutil.copytree(trained.path, tmp_path/'model')

# The table

def write_images(root, *names):
    "A small image of its own colour for each name"
    for i, n in enumerate(names):
        (root/n).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8), (40*i, 90, 200)).save(root/n)

def test_a_table_gives_labels(tmp_path):
    "Columns are found; paths and bare names; missing files, images that are not named and rows without labels are told"
    write_images(tmp_path, 'a/1.png', 'a/2.png', 'b/3.png', 'b/4.png')
    (tmp_path/'tags.csv').write_text('id;file;tags\n1;a/1.png;cat|dog \n2;2.png;dog|dog\n3;b\\3.png;\n4;gone.png;cat\n')
    items = read_labels(tmp_path, separator='|')
    assert items.table.labels.tolist() == [('cat', 'dog'), ('dog',), ()] and items.table.label.tolist() == ['cat|dog', 'dog', '']
    assert [(s.path, s.reason) for s in items.skipped] == [('gone.png', 'tags.csv, row 5: there is no image gone.png')]
    assert any('1 image has no label' in n for n in items.notes) and any('1 image is not in tags.csv' in n for n in items.notes)

@pytest.mark.parametrize(('text', 'said'), [
    ('image,labels\n', 'No labelled images in labels.csv'), ('name,labels\nx,cat\n', 'row 2: there is no image x'),
    ('image\n1.png\n', 'none is known as the label'), ('image,labels\n1.png,cat\n2.png,cat\n', 'has 1 label'),
    ('image,labels\n9.png,cat dog\n', 'row 2: there is no image 9.png'),
    (f'image,labels\n1.png,{"x"*400} cat\n', 'a label of 400 characters')])
def test_a_wrong_table_says_what_is_wrong(tmp_path, text, said):
    write_images(tmp_path, '1.png', '2.png')
    (tmp_path/'labels.csv').write_text(text)
    with pytest.raises(QuickclsError) as e: read_labels(tmp_path)
    assert said in str(e.value) and '\n' not in str(e.value)

def test_a_wrong_separator_is_told(tmp_path):
    "With another separator each cell is one label"
    write_images(tmp_path, '1.png', '2.png')
    (tmp_path/'labels.csv').write_text('image,labels\n1.png,cat dog\n2.png,dog\n')
    assert "no image has two labels with the separator ';'. The first is 'cat dog'" in read_labels(tmp_path, separator=';').notes[0]

# Split and folds

def test_each_label_is_on_both_sides(shapes):
    "Where two images have it; the split follows from the contents, not from the order of the table; copies stay together"
    items = read_labels(shapes)
    t = split_labels(items).table
    y, train = label_matrix(t.labels, label_names(items)), (t.split == 'train').to_numpy()
    assert y[train].any(0).all() and y[~train].any(0).sum() == len(label_names(items)) - 1 # all but the one with one image
    assert .2 < (~train).mean() < .4
    items.table = items.table.iloc[::-1].reset_index(drop=True)
    again = split_labels(items).table
    assert dict(zip(again.path, again.split)) == dict(zip(t.path, t.split))
    double = read_labels(shapes)
    double.table.loc[5, 'sha256'] = double.table.loc[6, 'sha256']
    for seed in range(8): assert split_labels(double, seed=seed).table.split[[5, 6]].nunique() == 1

def test_folds_spread_rare_labels_and_keep_groups():
    rng = np.random.default_rng(3)
    y, groups = rng.random((200, 6)) < (.5, .3, .2, .1, .05, .03), np.arange(200)//2
    fold = label_folds(y, groups, 5)
    assert all(len(set(fold[groups == g])) == 1 for g in range(100))
    per = np.array([y[fold == f].sum(0) for f in range(5)])
    assert (per.max(0) - per.min(0) <= np.maximum(3, .2*y.sum(0))).all() and np.ptp(np.bincount(fold)) <= 8

# Measures and thresholds

def test_average_precision_and_its_chance():
    "As scikit-learn's, with ties; the chance of few images is that of random orders"
    from sklearn.metrics import average_precision_score
    rng = np.random.default_rng(0)
    for n in (3, 10, 80):
        y, p = np.arange(n) < max(1, n//4), rng.integers(0, 6, n)/6
        assert np.isclose(average_precision(y, p)[0], average_precision_score(y, p))
    orders = [average_precision(np.arange(12) < 2, rng.random(12))[0] for _ in range(4000)]
    assert abs(np.mean(orders) - chance_precision(2, 12)) < .015

def test_thresholds_are_chosen_where_there_are_enough_images():
    "A rare label is named far below .5; nine images choose nothing; a label that cannot be told is not named everywhere"
    rng = np.random.default_rng(0)
    y = np.c_[rng.random(500) < .1, np.arange(500) < 9, rng.random(500) < .2]
    p = np.c_[np.where(y[:, 0], .3, .1) + .02*rng.normal(size=500), rng.random(500), rng.random(500)].clip(0, 1)
    thresholds, chosen = choose_thresholds(p, y)
    assert .15 < thresholds[0] < .28 and chosen.tolist() == [True, False, True] and thresholds[1] == .5
    assert (p[:, 2] >= thresholds[2]).sum() <= 2*y[:, 2].sum()

def test_labels_that_none_or_all_have_cannot_be_learned():
    "They get their frequency as probability, and disturb no other label"
    x = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    y = np.c_[x[:, 0] > 0, np.zeros(50, bool), np.ones(50, bool)]
    w, b = fit_sigmoids(x, y, 1.)
    assert not w[1:].any() and b[1] < -4 < 4 < b[2] and ((x @ w[0] + b[0] > 0) == y[:, 0]).mean() > .95

# Training

def test_independent_attributes_are_learned(trained):
    "Colour and shape, on held-out images and in cross-validation, far above chance"
    run = trained.run
    assert trained.vocab == ['blue', 'disc', 'lonely', 'red', 'square']
    each = {r['label']: r for r in json.loads((trained.path/'metrics.json').read_text())['per_label']}
    known = [c for c in trained.vocab if c != 'lonely']
    assert np.mean([each[c]['average_precision'] for c in known]) > .9 and np.mean([each[c]['held'] for c in known]) > .9
    assert run['crossed']['chance'] < .4 and run['held_out']['labels'] == 4 and run['held_out']['unmeasured'] == 1
    low, high = run['crossed']['interval']
    assert 0 < low <= run['crossed']['mean_average_precision'] <= high <= 1
    assert each['lonely'] | dict(threshold=.5, chosen=False, held=None, held_images=0) == each['lonely']

def test_a_saved_classifier_says_the_same(trained, shapes):
    "By its graph in onnxruntime, by its head in numpy, and loaded again; an image without a shape has no label"
    import onnxruntime
    path, clf = shapes/'images'/'000.png', load_labels(trained.path)
    p = clf.predict(path).probabilities
    assert p == trained.predict(path).probabilities and clf.thresholds == trained.thresholds
    session = onnxruntime.InferenceSession(str(trained.path/'model.onnx'), providers=['CPUExecutionProvider'])
    own, = session.run(['probs'], {'image': clf.prepare(path)[0][None]})
    assert np.allclose(own[0], p, atol=.02)
    table = read_labels(shapes).table
    right = [set(clf.predict(q).names) == set(l) - {'lonely'} for q, l in zip(table.path[:20], table.labels[:20])]
    assert np.mean(right) > .8 and any(not l for l in table.labels[:20])
    assert clf.evaluate(shapes).mean('average_precision') > .85

def test_what_needs_one_label_says_so(trained, shapes):
    "In Python: the ordinary way to open it, and the methods for one label"
    refused(lambda: Classifier.load(trained.path), 'several labels', 'load_labels')
    for call in (trained.explain, trained.tag, trained.decide, trained.to_learner, lambda: trained.trust): refused(call, 'several labels')

@pytest.mark.parametrize('given', [dict(head='fastai'), dict(strategy='full'), dict(auto=10), dict(augment='4'), dict(classes='a,b')])
def test_options_for_one_label_are_refused(shapes, given, tmp_path):
    how = dict(label_separator=' ', quiet=True, out=str(tmp_path/'m'))
    refused(lambda: train(str(shapes), **how, **given), f'{next(iter(given))} is for one label', 'label_separator')
    assert not (tmp_path/'m').exists()

def test_splits_and_groups_of_a_table_count(shapes):
    "From a DataFrame too"
    import pandas as pd
    t = pd.read_csv(shapes/'labels.csv', keep_default_na=False)
    given = t.assign(split=['test' if i % 4 == 0 else 'train' for i in range(len(t))])
    kept = split_labels(read_labels(given.assign(image=[str(next(shapes.rglob(n))) for n in t.image])))
    assert sorted(kept.table.split) == sorted(given.split)
    grouped = t.assign(image=[str(next(shapes.rglob(n))) for n in t.image], group=[f'g{i//4}' for i in range(len(t))])
    drawn = split_labels(read_labels(grouped)).table
    assert drawn.split.nunique() == 2 and (drawn.groupby('group').split.nunique() == 1).all() and drawn.group.nunique() == -(-len(t)//4)

# The command line

def test_the_command_line(quickcls, shapes, tmp_path):
    "train says how good it is beside chance, in few lines; predict gives labels, lines, JSON and a table"
    labels = ('--labels', shapes/'labels.csv', '--label-separator', ' ')
    p = quickcls('train', shapes/'images', *labels, *lite0, '--out', tmp_path/'m', '--json')
    *lines, last = p.stdout.splitlines()
    assert json.loads(last)['crossed']['mean_average_precision'] > .7 and len(lines) <= 25
    assert any(l.startswith('Labels') and 'chance gives' in l and 'mean frequency' in l for l in lines)
    page, card = (tmp_path/'m'/'report.html').read_text(), (tmp_path/'m'/'README.md').read_text()
    assert 'data:image/jpeg' in page and '<svg' in page and '| square |' in card and str(tmp_path) not in page + card
    t = read_labels(shapes).table
    red = next(p for p, l in zip(t.path, t.labels) if l == ('red', 'square'))
    assert {'red', 'square'} <= set(quickcls('predict', tmp_path/'m', red).stdout.replace('%', ' ').split())
    d = json.loads(quickcls('predict', tmp_path/'m', red, '--json').stdout)
    assert {l['label'] for l in d['labels']} == {'red', 'square'} and all(l['probability'] >= l['threshold'] for l in d['labels'])
    out = quickcls('predict', tmp_path/'m', shapes/'images', '--csv', tmp_path/'a.csv').stdout
    assert 'square' in out and 'no label' in out
    rows = (tmp_path/'a.csv').read_text(encoding='utf-8-sig').splitlines()
    assert rows[0] == 'path,labels,p_blue,p_disc,p_lonely,p_red,p_square,error' and len(rows) == 61

@pytest.mark.parametrize('words', [('demo',), ('decide', '--sure', '90%'), ('report',), ('explain', '{image}'), ('tag', '{image}')])
def test_other_commands_end_in_one_line(quickcls, trained, shapes, words):
    "That says what works"
    words = [w.format(image=shapes/'images'/'000.png') for w in words]
    p = quickcls(words[0], trained.path, *words[1:], code=1)
    assert 'several labels' in p.stderr and 'quickcls predict' in p.stderr and p.stderr.count('\n') == 1

def test_predict_refuses_what_is_for_one_label(quickcls, trained, shapes, tmp_path):
    p = quickcls('predict', trained.path, shapes/'images', '--sort-into', tmp_path/'s', code=1)
    assert '--sort-into' in p.stderr and '--csv' in p.stderr and not (tmp_path/'s').exists()

# A stranger's folder

def test_a_folder_from_a_stranger(folder):
    "Every part is checked against the others: thresholds, kind of head, format; and the arrays, as for one label"
    def wrong(change, *parts):
        "What loading says after a change of the description, which is put back"
        before = (folder/'classifier.json').read_text()
        change_json(folder/'classifier.json', change)
        refused(lambda: load_labels(folder), *parts)
        (folder/'classifier.json').write_text(before)
    wrong(lambda d: d['labels']['thresholds'].pop(), 'labels.thresholds', '5')
    wrong(lambda d: d['labels']['thresholds'].__setitem__(0, 7), 'thresholds[0]', '0 to 1')
    wrong(lambda d: d.pop('labels'), 'labels')
    wrong(lambda d: d['labels'].update(separator=''), 'separator')
    wrong(lambda d: d.update(temperature=2.), 'temperature')
    wrong(lambda d: d['head'].update(kind='linear'), 'head.kind')
    wrong(lambda d: d.update(format=1), 'format')
    wrong(lambda d: d.update(format=3), 'format 3', '1 and 2')
    wrong(lambda d: d.update(vocab=d['vocab'][:-1]), 'labels.thresholds')
    without_digests(folder)
    (folder/'model.onnx').write_bytes(b'no graph')
    refused(lambda: load_labels(folder), 'model.onnx')

def test_one_label_is_not_opened_as_several(tmp_path):
    classifier_folder(tmp_path/'m', ['cat', 'dog'], 4)
    for f in ('model.onnx', 'weights.safetensors'): (tmp_path/'m'/f).touch()
    refused(lambda: LabelClassifier.load(tmp_path/'m'), 'one label', 'Classifier.load')

def test_a_failed_training_leaves_nothing(shapes, tmp_path, monkeypatch):
    "The folder appears whole or not at all"
    def fail(*_, **__): raise OSError(28, 'No space left on device')
    monkeypatch.setattr('safetensors.numpy.save_file', fail)
    how = dict(label_separator=' ', arch='efficientnet_lite0', quiet=True, offline=True)
    with pytest.raises(QuickclsError, match='full'): train(str(shapes), out=str(tmp_path/'m'), **how)
    assert list(tmp_path.iterdir()) == []

def test_labels_that_would_act(tmp_path):
    "In the page, the card, the terminal and a spreadsheet they are text"
    vocab = ['<script>alert(1)</script>', '=cmd|A1', '\x1b[31m![x](http://y)']
    rng = np.random.default_rng(0)
    y = rng.random((40, 3)) < .4
    ev = LabelEvaluation([f'/data/<b>{i}.jpg' for i in range(40)], y, rng.random((40, 3)), vocab, np.full(3, .5))
    facts = LabelFacts('<i>m</i>', ev, None, [.5]*3, [False]*3, '<u>data</u>', 99, 'quickcls train x', notes=['<s>note</s>'])
    page = write_label_report(facts, tmp_path/'report.html', images=False).read_text()
    assert not any(tag in page for tag in ('<script>alert', '<b>0', '<i>m', '<u>data', '<s>note'))
    info = dict(views=[dict(backbone=dict(name='resnet34'), size=224, resize='squish')])
    card = write_label_card(facts, tmp_path, info).read_text()
    assert '<script>' not in card and '[x](' not in card and '\x1b' not in card
    assert '\x1b' not in label_summary(facts, tmp_path)
    assert label_columns(vocab)[3] == 'p_=cmd|A1' and label_row(LabelAnswer('1.jpg', [dict(label='=cmd|A1')], []), ' ', 3)[1] == "'=cmd|A1"

# Real posters

def test_real_posters(quickcls, photos, tmp_path):
    "Mean average precision well above what chance gives, and above the label frequencies; without images in the report where that is asked"
    p = quickcls('train', photos('movie_posters'), '--label-separator', ' ', *lite0, '--out', tmp_path/'m', '--json', '--no-images')
    d = json.loads(p.stdout.splitlines()[-1])
    s = d['crossed']
    assert s['mean_average_precision'] > max(1.4*s['chance'], 1.6*s['frequency']) and s['interval'][0] > s['chance']
    assert len(d['classes']) == 19
    assert 'data:image' not in (tmp_path/'m'/'report.html').read_text()
