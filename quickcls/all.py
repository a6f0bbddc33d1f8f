"The names that users import: `from quickcls.all import *`"
from quickcls.core import QuickclsError
from quickcls.backbones.registry import parse_views
from quickcls.features.benchmark import backbone_table
from quickcls.data.items import Items, scan_folder
from quickcls.data.split import split_items
from quickcls.sources.read import read_items # adds `Items.from_csv`, `from_df`, `from_folder`, `from_name_re`
from quickcls.heads.head import Head
from quickcls.heads.fit import fit_head
from quickcls.model.classifier import Classifier
from quickcls.model.prediction import Prediction
from quickcls.evaluate.predictions import Evaluation
from quickcls.evaluate.diagnostics import Trust # adds `Classifier.trust`
from quickcls.evaluate.thresholds import describe_threshold # adds ROC, precision-recall and thresholds to `Evaluation`
from quickcls.multilabel.classifier import LabelClassifier, load_labels
from quickcls.multilabel.labels import read_labels
from quickcls.predict.deciding import Deciding # adds `Classifier.decide`
from quickcls.explain.heatmap import HeatMap # adds `Classifier.explain`
from quickcls.explain.regions import Tags # adds `Classifier.tag`
from quickcls.evaluate.plots import plot_images
from quickcls.report.page import write_report
from quickcls.stress_command import Stressed # adds `Classifier.stress` and `Classifier.estimate`
from quickcls.stress.estimate import Estimate
from quickcls.train.pipeline import train
from quickcls.compare.command import compare
from quickcls.doctor.examine import doctor
from quickcls.doctor.result import Diagnosis
from quickcls.cleaner.widget import cleaner
from quickcls.sets.get import check_images
from quickcls.sets.notebook import new_notebook
from quickcls.report.answer_html import demo_widget

__all__ = ['Classifier', 'Deciding', 'Diagnosis', 'Estimate', 'Evaluation', 'Head', 'HeatMap', 'Items', 'LabelClassifier', 'Prediction',
           'QuickclsError', 'Stressed', 'Tags', 'Trust', 'backbone_table', 'check_images', 'cleaner', 'compare', 'demo_widget',
           'describe_threshold', 'doctor', 'fit_head', 'load_labels', 'new_notebook', 'parse_views', 'plot_images', 'quick_learner',
           'read_items', 'read_labels',
           'scan_folder', 'split_items', 'train', 'write_report', 'new', 'plot_pictures']

new, plot_pictures = new_notebook, plot_images # their names in version 0.1, which notebooks may use

class _QuickLearner:
    "An ordinary fastai Learner on a folder, whose head `fit_head` trains in seconds"
    def __call__(self, *args, **kwargs): return self._function(*args, **kwargs)

    @property
    def _function(self):
        from quickcls.model.learner import quick_learner # fastai takes seconds to import, and only this needs it
        return quick_learner

    @property
    def __signature__(self): # so that `help` and an editor show the parameters
        import inspect
        return inspect.signature(self._function)

quick_learner = _QuickLearner()
