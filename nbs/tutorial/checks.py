"""Is the learner's own answer right? Every truth is computed from the images and from what was trained; there is no list of answers"""
from pathlib import Path
from quickcls.core import QuickclsError
from quickcls.data.items import scan_folder
from quickcls.saved.descriptions import read_metrics

class Checks:
    "The checks of one notebook: `check = Checks(folder)`, then `check('counts', answer)` after each question"
    def __init__(self,
        folder:str # Images in folders of classes
    ):
        self.folder, self.right = folder, {} # name of a question → was the answer right? None: not answered yet
        self.counts = scan_folder(folder).table.label.value_counts().to_dict()

    def __call__(self, name:str, *answers):
        "Say whether the answer is right"
        if any(a is ... for a in answers):
            self.right[name] = None
            print(f'· {name}: not answered yet')
            return
        try: right, said = getattr(self, f'_{name.replace(" ", "_")}')(*answers)
        except (QuickclsError, TypeError, ValueError, AttributeError, KeyError) as e:
            right, said = False, f'this answer cannot be checked: {e}'
        self.right[name] = right
        print(f'{"✓" if right else "✗"} {name}: {said}')

    def __repr__(self):
        done = sum(r is True for r in self.right.values())
        return f'{done} of {len(self.right)} answers are right'

    @property
    def baseline(self)->float: return max(self.counts.values())/sum(self.counts.values()) # who always names the most frequent class

    # the data

    def _counts(self, answer):
        wrong = [c for c in self.counts if answer.get(c) != self.counts[c]]
        if wrong or len(answer) != len(self.counts):
            return False, f'look again at {", ".join(wrong) or "the names"}: scan_folder(folder) counts them'
        return True, f'{sum(self.counts.values()):,} images in all'

    def _baseline(self, answer):
        if abs(answer - self.baseline) < .005: return True, 'a classifier has to beat this before it is worth anything'
        return False, 'the share of the most frequent class, from 0 to 1'

    # the network

    def _network(self, answer):
        from quickcls.backbones.registry import find_backbone
        from quickcls.backbones.weights import get_weights
        b = find_backbone(answer)
        if b.keypoints or b.scratch: return False, f'{answer} has no pretrained weights: that question comes later'
        weights = get_weights(b)
        return True, f'{answer} has {b.params:.1f} million weights, here from: {weights.source}'

    def _frozen(self, learn, number):
        n = sum(p.numel() for p in learn.model.parameters() if p.requires_grad)
        free = [p for m in learn.model[0].modules() if not _norm(m) for p in m.parameters(recurse=False) if p.requires_grad]
        if free: return False, 'the body still learns: learn.freeze()'
        if number != n: return False, 'count the numbers of all parameters with requires_grad'
        total = sum(p.numel() for p in learn.model.parameters())
        return True, f'{n:,} of {total:,} learn: the head, and the batch norm of the body, which fastai leaves free'

    def _last_layer(self, learn, outputs):
        from torch import nn
        last = [m for m in learn.model.modules() if isinstance(m, nn.Linear)][-1]
        if outputs != len(self.counts) or last.out_features != outputs: return False, 'one output a class, of your classes'
        return True, f'{last.in_features:,} features, {last.out_features} classes; ImageNet had 1,000'

    def _trained(self, learn, accuracy):
        from scipy.stats import binomtest
        with learn.no_bar(): measured = float(learn.validate()[1])
        n = len(learn.dls.valid_ds)
        if binomtest(round(measured*n), n, self.baseline, alternative='greater').pvalue >= .05:
            return False, f'{measured:.1%} of {n} held-out images: no better than the baseline, so train it'
        if abs(accuracy - measured) >= .005: return False, f'learn.validate() gives (loss, accuracy) of the {n} held-out images'
        return True, f'{measured:.1%} of {n} held-out images, baseline {self.baseline:.1%}'

    # comparisons

    def _levels(self, comparison, answer): return self._better(comparison, 'levels', dict(all='all', last='last'), answer)

    def _copies(self, comparison, answer):
        found = {'without' if v == 'none' else 'with': v for v in comparison.ran.augment.unique()}
        return self._better(comparison, 'augment', found, answer)

    def _better(self, comparison, column, words, answer):
        "Which of two values is better; a tie where chance could make the difference"
        t = comparison.ran
        if t[column].nunique() != 2: return False, f'compare two of them: {column}'
        first = t.iloc[0]
        other = t[t[column] != first[column]].iloc[0]
        truth = 'tie' if other.within_chance else next(w for w, v in words.items() if v == first[column])
        said = f'{first[column]} {first.accuracy:.1%}, {other[column]} {other.accuracy:.1%} (p = {other.p:.2f})'
        return answer == truth, said if answer == truth else f'{said}: below p = 0.05 one is better, else it is a tie'

    def _share(self, comparison, answer):
        t = comparison.ran
        if not {5, 10, 50, 80} <= set(t.pct): return False, "train_pct='5,10,50,80'"
        truth = t[t.within_chance].pct.min()
        if answer != truth: return False, 'the smallest share whose row is within chance of the best (within_chance)'
        at = t[t.pct == truth].iloc[0]
        return True, f'with {truth:g} % {at.accuracy:.1%}, best {t.accuracy.max():.1%}: {at.n_test:.0f} test images cannot tell these apart'

    def _layers(self, clf, answer):
        advice = read_metrics(Path(clf.path))['advice']
        if answer != advice['strategy']: return False, 'how many images has a class, and would ImageNet know them?'
        return True, advice['why']

    def _classic(self, comparison, points):
        t = comparison.ran.drop_duplicates('arch')
        words = t[t.arch.str.contains('bow')]
        networks = t[~t.arch.str.contains('bow')]
        if not (len(words) and len(networks)): return False, 'compare a network with akaze-bow-svm'
        truth = 100*(networks.accuracy.max() - words.accuracy.max())
        if abs(points - truth) >= .5: return False, 'the difference of the two accuracies in points: 100·(network − key points)'
        return True, f'network {networks.accuracy.max():.1%}, key points {words.accuracy.max():.1%}'

    # explaining

    def _worst(self, clf, heat):
        worst = clf.evaluate().table.nlargest(1, 'loss').iloc[0]
        if Path(heat.path).name != Path(worst.path).name: return False, 'the held-out image with the highest loss: clf.evaluate().table'
        return True, f'{worst.label}, called {worst.predicted}; its evidence is strongest at {heat.peak} (left, top, right, bottom)'

def _norm(module): return 'Norm' in type(module).__name__
