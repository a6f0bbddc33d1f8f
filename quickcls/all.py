"Everything that a notebook needs: `from quickcls.all import *`"
from quickcls.core import QuickclsError
from quickcls.backbones import parse_views
from quickcls.catalogue import backbone_table
from quickcls.data import Items, scan_folder, split_items
from quickcls.heads import Head
from quickcls.networks import fit_head
from quickcls.classifier import Classifier, Prediction
from quickcls.evaluate import Evaluation
from quickcls.trust import Trust # adds `Classifier.trust`
from quickcls.thresholds import describe_threshold # adds ROC, precision-recall and thresholds to `Evaluation`
from quickcls.explain import HeatMap # adds `Classifier.explain`
from quickcls.tag import Tags # adds `Classifier.tag`
from quickcls.plots import plot_pictures
from quickcls.report import write_report
from quickcls.train import train
from quickcls.compare import compare
from quickcls.lesson import new
from quickcls.answers import demo_widget

__all__ = ['Classifier', 'Evaluation', 'Head', 'HeatMap', 'Items', 'Prediction', 'QuickclsError', 'Tags', 'Trust', 'backbone_table', 'demo_widget', 'describe_threshold', 'fit_head', 'new', 'parse_views', 'plot_pictures', 'quick_learner', 'scan_folder', 'split_items', 'train', 'write_report']

def quick_learner(folder, *args, **kwargs):
    "An ordinary fastai Learner on a folder; `help(quickcls.learner.quick_learner)` tells the parameters"
    from quickcls.learner import quick_learner as func # fastai takes seconds to import, and only this needs it
    return func(folder, *args, **kwargs)
