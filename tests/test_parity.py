"Live, saved, opened as a Learner: the same predictions"
import json
import numpy as np, pytest
from tests.helpers import files_of, repo, some_parts, write_folder

parts, images = repo/'datasets'/'parts', [repo/'docs'/'parts'/'ok.jpg', repo/'docs'/'parts'/'defect.jpg']

@pytest.fixture(scope='module')
def few(tmp_path_factory): return some_parts(tmp_path_factory.mktemp('few')/'parts', slice(20))

def probs_of(clf, images):
    "[n, classes], in the order of the vocab"
    return np.array([
        [next(t['probability'] for t in p.top if t['label'] == c) for c in clf.vocab] for p in clf.predict(images, k=len(clf.vocab))
    ])


cases = [
    ('linear', 'all', 'efficientnet_lite0'),
    ('linear', 'last', 'efficientnet_lite0'),
    ('fastai', 'all', 'efficientnet_lite0'),
    ('fastai', 'last', 'efficientnet_lite0'),
    ('mlp:30', 'all', 'efficientnet_lite0'),
    ('linear', 'all', 'efficientnet_lite0+efficientnet_lite0@128'),
    ('views', 'last', 'efficientnet_lite0+efficientnet_lite0@128'),
]


@pytest.mark.parametrize('head,levels,arch', cases)
def test_a_saved_classifier_opens_as_a_learner_with_the_same_predictions(few, tmp_path, monkeypatch, head, levels, arch):
    "In 32-bit floats: the classifier, its ONNX graph alone, the Learner, and a classifier made from that Learner"
    monkeypatch.setenv('QUICKCLS_PRECISION', 'f32')
    from quickcls.all import Classifier, train
    from quickcls.backbones.engines import OpenVINOEngine
    clf = train(few, out=tmp_path/'m', arch=arch, head=head, levels=levels, epochs=3, quiet=True)
    want = probs_of(clf, images)
    alone = OpenVINOEngine(clf.path/'model.onnx')(*[np.stack(v) for v in zip(*map(clf.prepare, images))])['probs']
    np.testing.assert_allclose(alone, want, atol=1e-4)
    learn = clf.to_learner(few)
    got = np.array([learn.predict(p)[2].numpy() for p in images])
    np.testing.assert_allclose(got, want, atol=1e-3)
    again = Classifier.from_learner(learn).save(tmp_path/'again')
    np.testing.assert_allclose(probs_of(again, images), want, atol=1e-3)

def test_training_predictions_are_what_the_saved_classifier_says(few, tmp_path):
    "In the precision of this machine: predictions.csv against `predict` on the same files"
    import pandas as pd
    from quickcls.all import train
    clf = train(few, out=tmp_path/'m', arch='efficientnet_lite0', quiet=True)
    t = pd.read_csv(tmp_path/'m'/'predictions.csv')
    np.testing.assert_allclose(probs_of(clf, files_of(clf, t.path)), t[[f'p_{c}' for c in clf.vocab]], atol=.02)

def test_an_ordinary_fastai_learner(few, tmp_path, monkeypatch):
    "fit_head, then predict, interpretation, export, unfreeze and fine_tune, as on any Learner"
    monkeypatch.chdir(tmp_path)
    from fastai.vision.all import ClassificationInterpretation, Callback, load_learner
    from quickcls.all import Classifier, quick_learner
    class Count(Callback):
        epochs = 0
        def after_epoch(self): self.epochs += 1
    learn, count = quick_learner(few, 'efficientnet_lite0@96', bs=8, path=tmp_path), Count()
    before = [p.clone() for p in learn.model[0].parameters()]
    with learn.no_bar(), learn.no_logging():
        learn.fit_head(4, cbs=count)
        assert count.epochs == 4 and len(learn.recorder.values) == 4
        assert all(a.equal(b) for a, b in zip(before, learn.model[0].parameters())) and len(learn.dls.train_ds) < 40
        interp = ClassificationInterpretation.from_learner(learn)
        assert interp.confusion_matrix().sum() == len(learn.dls.valid_ds)
        assert learn.predict(str(images[0]))[0] in ('ok', 'defect')
        assert learn.predict(images[0].read_bytes())[0] == learn.predict(images[0])[0]
        learn.export('learner.pkl')
        assert load_learner(tmp_path / 'learner.pkl').predict(images[1])[2].numpy() == pytest.approx(
            learn.predict(images[1])[2].numpy(), abs=1e-5
        )
        assert str(few) not in (tmp_path/'learner.pkl').read_bytes().decode('latin-1') # the paths of a user's images stay at home
        frozen = sum(p.requires_grad for p in learn.model[0].parameters())
        learn.unfreeze()
        learn.fit_one_cycle(1, 1e-4)
        assert sum(p.requires_grad for p in learn.model[0].parameters()) > frozen
        assert not all(a.equal(b) for a, b in zip(before, learn.model[0].parameters()))
        monkeypatch.setenv('QUICKCLS_PRECISION', 'f32')
        clf = Classifier.from_learner(learn).save(tmp_path/'tuned') # the trained body, not the published one
        np.testing.assert_allclose(probs_of(clf, images), [learn.predict(p)[2].numpy() for p in images], atol=1e-3)
        back = clf.to_learner(few)
        np.testing.assert_allclose(back.predict(images[0])[2], learn.predict(images[0])[2], atol=1e-4)
        learn.fit_head(1)
        learn.fine_tune(1)  # the changed body is embedded anew, then trained on


def test_damaged_images_leave_the_learner(few, tmp_path):
    "They come to light in fit_head; training the whole network goes on without them"
    import shutil
    from quickcls.all import quick_learner
    root = tmp_path/'parts'
    shutil.copytree(few, root)
    for p in sorted((root/'ok').glob('*.jpg'))[:3]: p.write_bytes(p.read_bytes()[:4000])
    learn = quick_learner(root, 'efficientnet_lite0@96', bs=8)
    n = len(learn.dls.train_ds) + len(learn.dls.valid_ds)
    with learn.no_bar(), learn.no_logging():
        learn.fit_head(1)
        assert len(learn.dls.train_ds) + len(learn.dls.valid_ds) == n - 3
        learn.unfreeze()
        learn.fit_one_cycle(1, 1e-4)


def test_a_trained_body_never_gets_the_embeddings_of_the_old_one(few):
    from quickcls.all import quick_learner
    from quickcls.model.learner import body_graphs
    learn = quick_learner(few, 'efficientnet_lite0@96')
    first, = body_graphs(learn)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3) # frozen; fastai trains the body's batch norm all the same
    second, = body_graphs(learn)
    assert first.digest != second.digest and second.cosine > .999

def test_the_folder_cannot_harm(few, tmp_path):
    "No pickle in it, and a description that contradicts the numbers is refused"
    from quickcls.all import Classifier, QuickclsError, train
    clf = train(few, out=tmp_path/'m', arch='efficientnet_lite0', quiet=True)
    assert {p.suffix for p in clf.path.iterdir()} <= {'.onnx', '.json', '.safetensors', '.png', '.csv', '.html', '.md'}
    d = json.loads((clf.path/'classifier.json').read_text())
    def refuses(match, **changes):
        (clf.path/'classifier.json').write_text(json.dumps(d | changes))
        with pytest.raises(QuickclsError, match=match): Classifier.load(clf.path)
    refuses(r'\b2 classes.*vocab 3', vocab=['a', 'b', 'c'])
    refuses('two or more', vocab=['a'])
    refuses('format.*99', format=99)
    refuses('temperature.*above 0', temperature=0)
    refuses('damaged', views=None)
    (clf.path/'classifier.json').write_text('{"vocab": ["a"')
    with pytest.raises(QuickclsError, match='damaged'): Classifier.load(clf.path)
    (clf.path / 'classifier.json').write_text(json.dumps(d))
    (clf.path / 'model.onnx').write_bytes(b'no graph')
    with pytest.raises(QuickclsError, match='model.onnx'): Classifier.load(clf.path).predict(images[0])

def test_names_that_are_html_are_shown_as_text(tmp_path):
    from quickcls.all import train
    root = write_folder(tmp_path/'set', **{'<img src=x onerror=alert(1)>': 6, 'дуб & "寿司"': 6})
    clf = train(root, out=tmp_path/'m', arch='efficientnet_lite0', size=64, quiet=True)
    page = clf._repr_html_() + clf.predict(images[0])._repr_html_() + clf.evaluate()._repr_html_()
    assert '<img src=x' not in page and '&lt;img src=x' in page

def test_evaluate_another_folder(few, tmp_path):
    from quickcls.all import QuickclsError, train
    clf = train(few, out=tmp_path/'m', arch='efficientnet_lite0', quiet=True)
    ev = clf.evaluate(parts)
    assert ev.n == 240 and ev.accuracy > .6 and ev.confusion_matrix().to_numpy().sum() == 240
    assert ev.metrics()['without_twins']['twins'] == clf.info['data']['n_train'] and 'in the training set' in str(
        ev
    )  # what it learned from proves nothing
    with pytest.raises(QuickclsError, match='cat'): clf.evaluate(write_folder(tmp_path/'other', cat=2, ok=2))
