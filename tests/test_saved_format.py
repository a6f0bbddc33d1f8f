"""Classifiers that version 0.1 saved, kept for good: later versions read them, and they give the same answers

`net` is a network of timm trained from random weights for two epochs, `classic` is akaze-bow-svm.
Both learned from 90 images of each class of datasets/parts.
`answers.json` holds what version 0.1 said of the two images in docs/parts.
"""
import json, shutil
import pytest
from quickcls.all import Classifier
from quickcls.cli import main
from tests.helpers import repo

saved = repo/'tests'/'fixtures'/'saved_classifiers'
answers = json.loads((saved/'answers.json').read_text())

@pytest.mark.parametrize('kind', answers)
def test_answers_are_those_of_version_0_1(kind):
    clf = Classifier.load(saved/kind)
    for image, then in answers[kind].items():
        now = clf.predict(repo/'docs'/'parts'/f'{image}.jpg').to_dict()
        assert [t['label'] for t in now['top']] == [t['label'] for t in then['top']]
        assert [t['probability'] for t in now['top']] == pytest.approx([t['probability'] for t in then['top']], abs=2e-3)
        assert now['unknown'] == then['unknown'] and now['known_score'] == pytest.approx(then['known_score'], abs=.02)
        assert [n['picture'] for n in now['nearest']] == [n['picture'] for n in then['nearest']]

@pytest.mark.parametrize('kind', answers)
def test_its_figures_are_read_and_its_page_is_written(kind, tmp_path, capsys):
    folder = shutil.copytree(saved/kind, tmp_path/kind)
    metrics = json.loads((folder/'metrics.json').read_text())
    assert Classifier.load(folder).evaluate().accuracy == pytest.approx(metrics['accuracy'], abs=1e-6)
    assert main(['report', str(folder), '--no-pictures']) == 0 # as version 0.1 called the option
    page = (folder/'report.html').read_text()
    assert f'{100*metrics["accuracy"]:.1f}' in page
