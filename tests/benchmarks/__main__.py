"""Run every benchmark and print one table: `make bench`.

The reference, fastai as its own documentation uses it, is `../shared/bench/fastai_stock.py`, and the photographs lie in
`../shared/data`; where either is absent, its rows say so. All times are of whole processes, taken in this one run, so ratios
hold on a machine whose speed drifts. `python -m tests.benchmarks help predict` runs the named ones only."""
import json, os, shutil, statistics, subprocess, sys, tempfile, time
from dataclasses import dataclass
from pathlib import Path
from tests.benchmarks import duplicates, gpu, limit, many, precisions, strategies, stress
from tests.benchmarks.wrong_labels import wrong_labels
from tests.benchmarks.noise import write_noise

root = Path(__file__).parents[2]
data = Path(os.environ.get('QUICKCLS_PHOTOS', root.parent/'shared'/'data'))
reference = root.parent/'shared'/'bench'/'fastai_stock.py'
here = Path(__file__).parent

@dataclass
class Timed:
    "One finished process"
    seconds:float
    mb:float # peak memory
    out:str # standard output
    @property
    def last(self)->dict: return json.loads(self.out.strip().splitlines()[-1]) # its last line, JSON

def timed(*words, **env)->Timed:
    "Run a command to its end"
    with tempfile.TemporaryFile('w+') as out:
        t = time.perf_counter()
        p = subprocess.Popen(
            [str(w) for w in words], stdout=out, stderr=subprocess.DEVNULL, cwd=root, env={**os.environ, 'HF_HUB_OFFLINE': '1', **env}
        )
        _, status, usage = os.wait4(p.pid, 0)
        seconds = time.perf_counter() - t
        out.seek(0)
        text = out.read()
    if status: sys.exit(f'failed: {" ".join(map(str, words))}\n{text[-500:]}')
    return Timed(seconds, usage.ru_maxrss/1024, text)

def quickcls(*words, **env)->Timed: return timed(Path(sys.executable).with_name('quickcls'), *words, **env)
def median(runs, what='seconds')->float: return statistics.median(getattr(r, what) for r in runs)

class Bench:
    "The rows of the table, as they come"
    def __init__(self):
        self.rows, self.tmp = [], Path(tempfile.mkdtemp())
        self.reference = self.learner = None
        self.small, self.numbers = False, []

    def row(self, what, measured, goal='', met=None):
        self.rows.append((what, measured, goal or "", {True: 'yes', False: 'NO'}.get(met, '')))
        print(f'{what:<68} {measured:<34} {goal or "":<22} {self.rows[-1][3]}', flush=True)

    def photos(self, name):
        "The folder of a data set, or None with a row that says so"
        if (data/name).is_dir(): return data/name
        self.row(name, f'not measured: no {os.path.relpath(data/name, root)}')

    def train(self, folder, store, head='linear', n=1, extra=())->list:
        "`n` trainings with an empty or a full store; the graph is always there"
        runs = []
        for i in range(n):
            cache = self.tmp/'cache'
            if store == 'empty':
                for f in cache.glob('embeddings*'): f.unlink()
            runs.append(
                quickcls(
                    'train',
                    folder,
                    '--arch',
                    'efficientnet_lite0',
                    '--head',
                    head,
                    '--out',
                    self.tmp / 'model',
                    '--force',
                    '--json',
                    *extra,
                    QUICKCLS_CACHE=str(cache),
                )
            )
        return runs

    def bench_train(self):
        "hymenoptera: whole processes against fastai alone"
        folder = self.photos('hymenoptera')
        if not folder: return
        self.train(folder, 'empty') # exports the graph
        if reference.is_file():
            r = timed(sys.executable, reference, folder)
            self.reference = r.seconds
            self.row(
                'reference: fastai, 10 epochs',
                f'{r.seconds:.0f} s, {r.mb:,.0f} MB, accuracy {r.last["accuracy_last"]:.3f} (best epoch {r.last["accuracy_best"]:.3f})',
            )
        else: self.row('reference', f'not measured: no {os.path.relpath(reference, root)}')
        for head, extra, goals in (
            ('linear', (), dict(empty=30, full=45)),
            ('fastai', ('--folds', '0'), dict(empty=22, full=28)),
            ('fastai', (), {}),
        ):  # a fastai head takes a second, and cross-validation trains three more
            for store in ('empty', 'full'):
                t, goal = median(self.train(folder, store, head, 5, extra)), goals.get(store)
                ratio = self.reference and self.reference/t
                self.row(
                    f'train hymenoptera --head {" ".join((head, *extra))}, {store} store',
                    f'{t:.2f} s' + (f' = 1/{ratio:.0f}' if ratio else ''),
                    goal and f'<= 1/{goal}',
                    goal and ratio and ratio >= goal,
                )
        for head in ('linear', 'fastai', 'mlp:100'):
            m = self.train(folder, 'full', head)[0].last
            self.row(
                f'accuracy on its val, --head {head}',
                f'{m["accuracy"]:.4f}, {m["metrics"]["errors"]} errors in {m["n_valid"]}',
                '>= 0.945',
                m['accuracy'] >= 0.945,
            )

    def bench_casting(self):
        "casting: 7,348 images"
        folder = self.photos('casting')
        if not folder: return
        if not (self.tmp/'cache'/'graphs').exists(): self.train(root/'datasets'/'parts', 'empty')
        r = self.train(folder, 'empty')[0]
        m, twins = r.last, r.last['metrics']['without_twins']
        self.row('train casting, 7,348 images, empty store', f'{r.seconds:.1f} s, {r.mb:,.0f} MB', '<= 45 s', r.seconds <= 45)
        self.row(
            'accuracy on its test',
            f'{m["accuracy"]:.4f}, {m["metrics"]["errors"]} errors in {m["n_valid"]}',
            '>= 0.995',
            m['accuracy'] >= 0.995,
        )
        self.row(f'the same without the {twins["twins"]} that stand in train', f'{twins["accuracy"]:.4f} of {twins["n"]}')

    def bench_trust(self):
        "What stands behind an accuracy, after the embedding pass: cross-validation 5 x 2, calibration, learning curve, report"
        for name, goal in (('hymenoptera', 10), ('casting', 30), ('flowers', None)):
            folder = self.photos(name)
            if not folder: continue
            self.train(folder, 'full')
            runs = self.train(folder, 'full', n=3)
            s = [sum(r.last['seconds'][k] for k in ('check', 'evaluate', 'save')) for r in runs]
            self.row(
                f'{name}: cross-validation, curve, calibration, report',
                f'{statistics.median(s):.1f} s of {median(runs):.1f} s',
                goal and f'<= {goal} s',
                goal and statistics.median(s) <= goal,
            )
            trust = json.loads((self.tmp/'model'/'metrics.json').read_text())['trust']
            cv, cal = trust['cross_validation'], trust['calibration']
            self.row(
                'its accuracy, cross-validated',
                f'{cv["accuracy"]:.4f} ({cv["interval"][0]:.4f} to {cv["interval"][1]:.4f}), n = {cv["n"]:,}',
            )
            goal = .03 if name != 'hymenoptera' else None
            self.row(
                'its calibration error before, after',
                f'{cal["ece_before"]:.3f}, {cal["ece_after"]:.3f}; chance {cal["ece_chance"]:.3f}',
                goal and '<= 0.03 after',
                goal and cal['ece_after'] <= goal,
            )
            mb = (self.tmp/'model'/'report.html').stat().st_size/2**20
            self.row('its report.html', f'{mb:.2f} MB', '< 5 MB', mb < 5)

    def bench_unknown(self):
        "None of these: against other sets, with a class left out, saved and live, and what it costs"
        if not all(self.photos(n) for n in ('flowers', 'hymenoptera', 'casting', 'trashnet', 'dogs_angry_happy', 'lego_bricks')): return
        rows = [
            json.loads(l)
            for l in timed(
                sys.executable, '-m', 'tests.benchmarks.none_of_these', data, QUICKCLS_CACHE=str(self.tmp / 'cache')
            ).out.splitlines()
        ]
        of = lambda what: [r for r in rows if r['what'] == what]
        for r in of('others'):
            self.row(
                f'{r["name"]}: area against nine other sets',
                f'{r["area"]:.3f} (worst {r["worst"].split("/")[0]} {r["worst_area"]:.3f})',
                '>= 0.95',
                r['area'] >= 0.95,
            )
            self.row(
                '  foreign refused; known held-out ones unusual, refused',
                f'{r["refused"]:.1%}; {r["known_unusual"]:.1%}, {r["known_refused"]:.1%} ({r["splits"]} splits)',
                '<= 7 % unusual',
                r['known_unusual'] <= 0.07,
            )
        mean = statistics.mean(r['area'] for r in of('others'))
        self.row('mean area against other sets', f'{mean:.4f}', '>= 0.98', mean >= .98)
        known = statistics.mean(r['known_unusual'] for r in of('others'))
        self.row('known images that are unusual, mean', f'{known:.1%}', '<= 7 %', known <= .07)
        for r in of('left'):
            self.row(f'{r["name"]}: area with one class left out', f'{r["area"]:.3f}, {r["refused"]:.0%} refused (worst {r["worst"]})')
        mean = statistics.mean(r['area'] for r in of('left'))
        self.row('mean area with one class left out', f'{mean:.3f}', '>= 0.80', mean >= .8)
        live, slower, size = of('live')[0], of('seconds')[0], max(r['mb'] for r in of('others'))
        self.row(
            'known score, saved against live, largest difference',
            f'{live["difference"]:.0e} ({live["n"]} photographs)',
            '<= 1e-4',
            live['difference'] <= 1e-4,
        )
        self.row(
            'an image takes longer by',
            f'{1000 * slower["slower"]:.2f} ms ({slower["n"]:,} training images)',
            '<= 3 ms',
            slower['slower'] <= 0.003,
        )
        self.row('largest statistics, casting', f'{size:.1f} MB', '<= 5 MB', size <= 5)

    def bench_posters(self):
        "Several labels an image: film posters, five seeds"
        if not self.photos('movie_posters'): return
        out = timed(sys.executable, '-m', 'tests.benchmarks.posters', data/'movie_posters', QUICKCLS_CACHE=str(self.tmp/'cache')).out
        rows = list(map(json.loads, out.splitlines()))
        def mean(which, key): return statistics.mean(r[which][key] for r in rows)
        for which, name in (('crossed', 'cross-validated'), ('held', 'held out'), ('shuffled', 'labels of other posters (a check)')):
            figure, chance, often = (mean(which, k) for k in ('mean_average_precision', 'chance', 'frequency'))
            low, high = (f(r[which]['mean_average_precision'] for r in rows) for f in (min, max))
            goal = which != 'shuffled'
            self.row(
                f'posters, {rows[0][which]["n"]} images, {name}: mean average precision',
                f'{figure:.3f} ({low:.3f} to {high:.3f})',
                '>= 1.4 x chance, 1.8 x frequency' if goal else '0.8 to 1.2 x chance',
                figure >= max(1.4 * chance, 1.8 * often) if goal else 0.8 * chance <= figure <= 1.2 * chance,
            )
            self.row('  chance for as many images; mean frequency of a label', f'{chance:.3f}; {often:.3f}')

    def bench_refused(self):
        "None of these: ten sets of 60 to 2,900 training images, random and given sides, one view and two"
        if not all(self.photos(n) for n in ('flowers', 'hymenoptera', 'casting', 'trashnet', 'lego_bricks', 'movie_posters')): return
        out = timed(sys.executable, '-m', 'tests.benchmarks.refused', data, QUICKCLS_CACHE=str(self.tmp / 'cache')).out
        for r in map(json.loads, out.splitlines()):
            share = r['unusual']/r['n']
            self.row(
                f'{r["name"]}, {r["how"]}, {r["views"]} view{"s"[:r["views"] > 1]}, {r["n_train"]:,} train: unusual',
                f'{share:.1%} of {r["n"]:,} ({r["splits"]} split{"s"[:r["splits"] > 1]})',
                f'{r["low"]:.1%} to {r["high"]:.1%}',
                r['low'] <= share <= r['high'],
            )
            self.row(
                '  refused: all, right ones, right and sure ones; foreign',
                f'{r["refused"]/r["n"]:.1%}, {r["right"]/r["n"]:.1%}, {r["sure"]/r["n"]:.1%}; {r["foreign"]:.1%}',
                'right <= 1 %',
                r['right']/r['n'] <= .01,
            )

    def bench_tag(self):
        "Several kinds in one image: collages of flowers that were held out, those flowers by themselves, foreign images"
        if not all(self.photos(n) for n in ('flowers', 'dogs_angry_happy', 'trashnet', 'lego_bricks')): return
        rows = [
            json.loads(l)
            for l in timed(
                sys.executable, '-m', 'tests.benchmarks.several_kinds', data, 40, 42, 7, 8, QUICKCLS_CACHE=str(self.tmp / 'cache')
            ).out.splitlines()
        ]
        total = {k: sum(r[k] for r in rows) for k in rows[0]}
        for name, r in ((*((f'split {r["seed"]}', r) for r in rows), ('all splits', total))):
            share, false = r['found']/r['kinds'], r['false']/r['images']
            self.row(f'collages, {name}: kinds found', f'{share:.3f} of {r["kinds"]}', '>= 0.88', share >= .88)
            self.row('  false kinds an image', f'{false:.3f} ({r["images"]} images)', '<= 0.15', false <= .15)
            self.row('  boxes of the found at IoU >= 0.3', f'{r["boxes"]/max(r["found"], 1):.3f}', '>= 0.90', r['boxes'] >= .9*r['found'])
        seconds = statistics.median(r['seconds'] for r in rows)
        self.row('seconds an image', f'{seconds:.2f}', '<= 1', seconds <= 1)
        self.row('boxes beyond one a kind, a collage', f'{total["again"]/total["images"]:.2f}')
        self.row(
            'a flower by itself: found, false kinds an image',
            f'{total["single_found"] / total["singles"]:.3f}, {total["single_false"] / total["singles"]:.3f} ({total["singles"]})',
        )
        self.row('foreign images: false kinds an image', f'{total["foreign_false"]/total["foreign"]:.3f} ({total["foreign"]})')
        self.row('accuracy of the classifiers on whole images', ', '.join(f'{r["accuracy"]:.3f}' for r in rows))

    def bench_compare(self):
        "Forty-eight scenarios of flowers: three backbones, two heads, with and without random views, four shares of the images"
        folder = self.photos('flowers')
        if not folder: return
        archs, cache, words = (
            'efficientnet_lite0,efficientnet_lite1,efficientnet_lite2',
            dict(QUICKCLS_CACHE=str(self.tmp / 'cache')),
            ('--out', self.tmp / 'compare', '--quiet'),
        )
        quickcls('compare', root/'datasets'/'parts', '--arch', archs, '--train-pct', '10', *words, **cache) # exports the graphs
        for f in (self.tmp/'cache').glob('embeddings*'): f.unlink()
        axes = ('--arch', archs, '--head', 'linear,fastai', '--augment', '0,4', '--train-pct', '5,10,50,80')
        t = quickcls('compare', folder, *axes, *words, '--fresh', **cache).seconds
        self.row('compare: 48 scenarios of flowers, empty store', f'{t:.0f} s', '<= 180 s', t <= 180)
        self.row('the same again', f'{quickcls("compare", folder, *axes, *words, **cache).seconds:.1f} s')

    def bench_clips(self):
        "Look-alike groups: twenty clips of a dozen frames among single photos, and sets as they are"
        sets = 'flowers', 'hymenoptera', 'trashnet', 'dogs_angry_happy', 'magnetic_tile', 'lego_bricks'
        if not all(self.photos(n) for n in sets): return
        out = timed(sys.executable, '-m', 'tests.benchmarks.clips', data, QUICKCLS_CACHE=str(self.tmp/'cache')).out
        for r in map(json.loads, out.splitlines()):
            if r['what'] == 'plain':
                self.row(f'{r["name"]}: images in look-alike groups', f'{r["grouped"]} of {r["n"]:,} ({r["groups"]} groups)')
                self.row('  what it costs on the second run', f'{r["again"]:.2f} s', '<= 0.3 s', r['again'] <= .3)
                continue
            self.row(f'20 clips, draw {r["seed"]}: pairs of a clip in one group', f'{r["recall"]:.3f}', '>= 0.9', r['recall'] >= .9)
            self.row('  single photos that are grouped', f'{r["single"]:.1%} of {r["n_single"]}', '<= 2 %', r['single'] <= .02)

    def quality(self, folder, mark, extra):
        "One training with a mark of the dial; what was embedded before is there"
        return quickcls(
            'train',
            folder,
            '--quality',
            mark,
            *extra,
            '--out',
            self.tmp / 'model',
            '--force',
            '--json',
            '--offline',
            QUICKCLS_CACHE=str(self.tmp / 'cache'),
        )

    def auto(self, folder, seconds):
        "One automatic choice, with nothing on the machine but the package"
        return quickcls(
            'train',
            folder,
            '--auto',
            seconds,
            '--out',
            self.tmp / 'model',
            '--force',
            '--json',
            '--offline',
            QUICKCLS_CACHE=str(self.tmp / 'auto'),
        )

    def compare(self, folder, *axes):
        "The table of a comparison, a DataFrame"
        import pandas as pd
        quickcls('compare', folder, *axes, '--out', self.tmp/'strategies', '--quiet', QUICKCLS_CACHE=str(self.tmp/'cache'))
        return pd.read_csv(self.tmp/'strategies'/'compare.csv')

    def bench_quality(self): strategies.quality(self, root)
    def bench_auto(self): strategies.auto(self, root)
    def bench_strategies(self): strategies.strategies(self, root)
    def bench_labels(self): wrong_labels(self)

    def bench_lists(self):
        "Wrong labels among several: found where images tell the labels, not guessed where they do not"
        posters = [data/'movie_posters'] if self.photos('movie_posters') else []
        out = timed(sys.executable, '-m', 'tests.benchmarks.label_lists', *posters, QUICKCLS_CACHE=str(self.tmp/'cache')).out
        for r in map(json.loads, out.splitlines()):
            recall, wrong = r['right']/r['planted'], r['named'] - r['right']
            what = f'{r["name"]}, {r["images"]} images with several labels, one of ten wrong'
            if r['name'] == 'drawn shapes':
                good = recall >= .6 and r['right'] >= .9*r['named']
                self.row(what, f'{recall:.3f} at {r["right"]/max(r["named"], 1):.3f}', '>= .6 at >= .9', good)
            else: self.row(what, f'{r["named"]} named in 5 draws, {wrong} falsely', '<= 5 falsely', wrong <= 5)

    def bench_pass(self):
        "The embedding pass against what decoding and the graph allow together, and its memory"
        folder = self.photos('hymenoptera') or root/'datasets'/'parts'
        runs = [
            timed(sys.executable, here / 'embedding_pass.py', 'share', folder, QUICKCLS_CACHE=str(self.tmp / 'pass')).last for _ in range(4)
        ][1:]  # the first exports the graph
        d, g, p, share = (statistics.median(r[k] for r in runs) for k in ('decode', 'graph', 'pass', 'share'))
        self.row(f'embedding pass, {folder.name}: images/s', f'{p:.0f}; decoding alone {d:.0f}, graph alone {g:.0f}')
        self.row('its share of what both allow together', f'{share:.0%}', '>= 85 %', share >= .85)
        peak = {
            n: timed(
                sys.executable, here / 'embedding_pass.py', 'memory', root / 'datasets' / 'parts', n, QUICKCLS_CACHE=str(self.tmp / 'pass')
            ).mb
            for n in (400, 20_000)
        }
        for n, mb in peak.items():
            self.row(
                f'peak memory of the pass, {n:,} images',
                f'{mb:,.0f} MB',
                '<= 1,200 MB, the same',
                mb <= 1200 and abs(mb - peak[400]) <= 0.15 * peak[400],
            )

    def bench_classes(self):
        "Many classes, and many images: a whole training, its embedding pass included, in a fresh process"
        self.train(root/'datasets'/'parts', 'empty') # exports the graph
        for classes, each, seconds in ((300, 6, None), (500, 6, None), (1000, 3, None), (1000, 4, 90), (2, 10_000, None)):
            r = self.train(write_noise(self.tmp/f'{classes}x{each}', classes, each), 'empty')[0]
            s = r.last['seconds']
            rest = s['total'] - s['embed']
            self.row(f'{classes:,} classes of {each:,} images of 32 px: seconds', f'{r.seconds:.0f} s, {rest:.0f} s without the pass',
                     seconds and f'<= {seconds} s', seconds and r.seconds <= seconds)
            self.row('  peak memory', f'{r.mb:,.0f} MB', '<= 1,500 MB', r.mb <= 1500)

    def bench_heat(self):
        "magnetic_tile: does the strongest cell of a heat map lie on the defect?"
        folder = self.photos('magnetic_tile')
        if not folder: return
        m = timed(sys.executable, here/'heat_maps.py', folder, QUICKCLS_CACHE=str(self.tmp/'cache')).last
        self.row('magnetic_tile: defects named right by heads that had not seen them', f'{m["right"]} of {m["asked"]}')
        for kind, k in m['kinds'].items():
            goal = .85 if kind in ('224 px', '448 px') else None
            self.row(
                f'heat map on the defect, {kind}',
                f'{k["hit"]:.1%} (chance {k["chance"]:.1%}), {k["seconds"]:.2f} s',
                goal and '>= 85 %',
                goal and k['hit'] >= goal,
            )
            self.row('  its centre within one cell of a marked pixel', f'{k["strict"]:.1%} (chance {k["strict_chance"]:.1%})')

    def bench_shortcuts(self):
        "Shortcuts planted into copies of two classes, and sets without any; the rival is naive Bayes on seven properties"
        if not all(self.photos(n) for n in ('flowers', 'hymenoptera', 'trashnet', 'dogs_angry_happy', 'casting')): return
        out = timed(sys.executable, '-m', 'tests.benchmarks.shortcuts', data, QUICKCLS_CACHE=str(self.tmp/'cache')).out
        rows = [json.loads(l) for l in out.splitlines()]
        met = dict(planted=lambda r: r['expected'] in r['said'], clean=lambda r: not r['said'],
                   casting=lambda r: r['said'] == ['the distribution of grey'])
        for r in rows:
            said = ', '.join(r['said']).replace('the ', '') or 'nothing'
            goal = dict(clean='nothing', casting='distribution of grey').get(r['what']) or r['expected'].removeprefix('the ')
            self.row(f'{r["what"]}, {r["name"]}; naive Bayes {"warns" if r["rival"] else "is silent"}', said, goal, met[r['what']](r))
        for what, warns in (('planted', True), ('clean', False)):
            of = [r for r in rows if r['what'] == what]
            right, theirs = sum(map(met[what], of)), sum(r['rival'] == warns for r in of)
            self.row(f'{what}: right; naive Bayes', f'{right} of {len(of)}; {theirs}', 'all', right == len(of))
        r = next(r for r in rows if r['what'] == 'casting')
        self.row(f'properties of {r["n"]:,} castings; shortcuts', f'{r["seconds"][0]:.1f} s; {r["seconds"][1]:.1f} s')

    def bench_help(self):
        "What a person waits for first"
        t = median([quickcls('--help') for _ in range(9)])
        self.row('quickcls --help', f'{t:.2f} s', '<= 0.3 s', t <= .3)
        t = median([quickcls('train', '--help') for _ in range(9)])
        self.row('quickcls train --help', f'{t:.2f} s', '<= 0.3 s', t <= .3)

    def bench_predict(self):
        "One image, as a whole process, against `load_learner` and `predict`"
        photo, parts = root/'docs'/'parts'/'defect.jpg', root/'datasets'/'parts'
        cache = dict(QUICKCLS_CACHE=str(self.tmp/'cache'))
        quickcls('train', parts, '--arch', 'efficientnet_lite0', '--out', self.tmp/'parts', '--force', **cache)
        timed(sys.executable, here/'fastai_predict.py', 'export', parts, self.tmp/'learner.pkl')
        ours, theirs = [], []
        for _ in range(7): # in turn, so that both see the same machine
            ours.append(quickcls('predict', self.tmp/'parts', photo, **cache))
            theirs.append(timed(sys.executable, here/'fastai_predict.py', 'predict', self.tmp/'learner.pkl', photo))
        a, b = median(ours), median(theirs)
        self.row('fastai load_learner + predict', f'{b:.2f} s, {median(theirs, "mb"):,.0f} MB')
        self.row('quickcls predict MODEL photo.jpg', f'{a:.2f} s = 1/{b/a:.1f}', '<= 1/9', b/a >= 9)
        self.row('its peak memory', f'{median(ours, "mb"):,.0f} MB', '<= 200 MB', median(ours, 'mb') <= 200)

    def bench_demo(self):
        "The page: until it is there, one large photograph, fifty clients at once for a minute"
        import asyncio
        from tests.benchmarks import demo_page as d
        folder = self.photos('hymenoptera') or root/'datasets'/'parts'
        self.train(folder, 'full')
        def serve():
            port = d.free_port()
            return d.Server(
                [Path(sys.executable).with_name('quickcls'), 'demo', self.tmp / 'model', '--port', port],
                port,
                root,
                {**os.environ, 'QUICKCLS_CACHE': str(self.tmp / 'cache')},
            )

        up = []
        for _ in range(3):
            with serve() as server: up.append((server.seconds, server.worked))
        up = sorted(up)[1]
        self.row(
            'quickcls demo MODEL: from the command to the page', f'{up[0]:.2f} s ({up[1]:.2f} s of processor)', '<= 2.5 s', up[0] <= 2.5
        )
        photos = [p.read_bytes() for p in sorted(folder.rglob('*.jpg'))[:200]]
        with serve() as server:
            large = d.phone_photo(sorted(folder.rglob('*.jpg'))[0])
            answers = asyncio.run(d.one_by_one(server.url, large, 23))[3:]
            ms = 1000*statistics.median(a[2] for a in answers)
            self.row(f'answer to 12 megapixels ({len(large)/1e6:.1f} MB), without its upload', f'{ms:.0f} ms', '<= 150 ms', ms <= 150)
            self.row('the same with its upload', f'{1000*statistics.median(a[1] for a in answers):.0f} ms')
            r = asyncio.run(d.load(server, photos, 50, 60))
            self.row(
                '50 clients at once for 60 s: errors',
                f'{len(r["errors"])} of {r["n"] + len(r["errors"]):,} ({r["n"] / 60:.0f} answers/s)',
                '0',
                not r['errors'],
            )
            for e in r['errors'][:3]: print(f'  {e}')
            self.row(
                '  seconds an answer, upload and all: median, 95 %', f'{r["median"]:.2f}, {r["p95"]:.2f}', '95 % <= 3 s', r['p95'] <= 3
            )
            self.row(
                '  processor an answer: server, the clients themselves',
                f'{1000 * r["theirs"] / max(r["n"], 1):.0f} ms, {1000 * r["own"] / max(r["n"], 1):.0f} ms',
            )
            self.row(
                '  memory of the server after 20 s, at the end, peak',
                f'{r["early"]:,.0f}, {r["late"]:,.0f}, {r["peak"]:,.0f} MB',
                'flat: within 10 %',
                abs(r['late'] - r['early']) <= 0.1 * r['early'],
            )
            time.sleep(45) # an upload stays for some seconds after its answer
            self.row('  files left of the uploads 45 s later', str(server.files()), '0', not server.files())
        ms = d.page_answer(self.tmp/'model', large)
        self.row('answer to the same 12 megapixels as the page shows it, with the map', f'{ms:.0f} ms', '<= 150 ms', ms <= 150)

    def bench_space(self):
        "A Space in a fresh environment with its own requirements alone"
        import asyncio, venv
        from quickcls.app.space import write_space
        from tests.benchmarks import demo_page as d

        quickcls(
            'train',
            root / 'datasets' / 'parts',
            '--arch',
            'efficientnet_lite0',
            '--out',
            self.tmp / 'parts',
            '--force',
            QUICKCLS_CACHE=str(self.tmp / 'cache'),
        )
        space, env = write_space(self.tmp/'parts', self.tmp/'space'), self.tmp/'fresh'
        size = lambda folder: sum(f.stat().st_size for f in folder.rglob('*') if f.is_file() and not f.is_symlink())/1e6
        self.row('a Space of the drawn parts', f'{size(space):.1f} MB')
        own = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'QUICKCLS_CACHE')} | dict(HOME=str(self.tmp/'home'))
        t = time.perf_counter()
        venv.create(env, with_pip=True)
        subprocess.run(
            [env / 'bin' / 'python', '-m', 'pip', 'install', '--quiet', '-r', space / 'requirements.txt'],
            check=True,
            env=own | dict(HOME=os.environ.get('HOME', '')),
            stderr=subprocess.DEVNULL,
        )
        self.row(
            'its requirements installed', f'{time.perf_counter() - t:.0f} s, {size(next(env.glob("lib/python*/site-packages"))):,.0f} MB'
        )
        heavy = ('torch', 'torchvision', 'timm', 'fastai', 'onnx', 'onnxscript')
        found = subprocess.run(
            [env / 'bin' / 'python', '-c', f'import importlib.util as u; print(*[m for m in {heavy} if u.find_spec(m)])'],
            env=own,
            cwd=space,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        self.row(f'there: {", ".join(heavy)}', ', '.join(found) or 'none', 'none', not found)
        for which in ('first', 'second'):
            port = d.free_port()
            with d.Server([env/'bin'/'python', 'app.py'], port, space, own) as server:
                answer = asyncio.run(d.one_by_one(server.url, (root/'docs'/'parts'/'defect.jpg').read_bytes(), 1))[0][0]
                self.row(
                    f'python app.py, {which} start: page, first answer',
                    f'{server.seconds:.1f} s, {time.perf_counter() - server.started:.1f} s; {answer["top"][0]["label"]}',
                    'defect',
                    answer['top'][0]['label'] == 'defect',
                )

    def bench_limit(self):
        "Decoding alone, the graph alone, and the pass: two networks, three kinds of photographs"
        limit.limit_rows(self, timed)

    def bench_decoders(self):
        "Decoders of JPEG against Pillow: processor time, and whether the pixels are the same"
        limit.decoder_rows(self, timed)

    def bench_precisions(self):
        "bf16 and int8 against f32: speed, agreement, accuracy"
        precisions.precision_rows(self, timed, root)

    def bench_duplicates(self):
        "Copies of images, found and not found; `--small` after the name for a busy machine"
        duplicates.rows(self, data, root, timed, self.small)

    def bench_many(self):
        "Many classes and many images: seconds and memory of each step; two numbers after the name for one set"
        many.rows(self, self.numbers)

    def bench_stress(self):
        "The expected accuracy of changed images without labels, five sets"
        if not all(self.photos(n) for n in stress.sizes): return
        out = timed(sys.executable, '-m', 'tests.benchmarks.stress', 'estimate', data, QUICKCLS_CACHE=str(self.tmp/'cache')).last
        stress.rows(self, out)

    def bench_gpu(self):
        "What a GPU does; one row says so where there is none"
        gpu.rows(self, timed, quickcls)


def main():
    b = Bench()
    benches = {
        n.removeprefix('bench_'): getattr(b, n)
        for n in (
            'bench_help',
            'bench_predict',
            'bench_train',
            'bench_casting',
            'bench_trust',
            'bench_unknown',
            'bench_posters',
            'bench_refused',
            'bench_heat',
            'bench_shortcuts',
            'bench_tag',
            'bench_compare',
            'bench_clips',
            'bench_quality',
            'bench_auto',
            'bench_strategies',
            'bench_labels',
            'bench_lists',
            'bench_demo',
            'bench_space',
            'bench_pass',
            'bench_limit',
            'bench_decoders',
            'bench_precisions',
            'bench_classes',
            'bench_duplicates',
            'bench_many',
            'bench_stress',
            'bench_gpu',
        )
    }
    b.small = '--small' in sys.argv
    b.numbers = [int(n.replace(',', '')) for n in sys.argv[1:] if n[:1].isdigit()]
    names = [n for n in sys.argv[1:] if n != '--small' and not n[:1].isdigit()] or list(benches)
    if unknown := [n for n in names if n not in benches]:
        sys.exit(f'There is no benchmark {unknown[0]!r}. Expected some of: {", ".join(benches)}.')
    print(f'{"what":<68} {"measured":<34} {"goal":<22} met', flush=True)
    try:
        for n in names: benches[n]()
    finally: shutil.rmtree(b.tmp, ignore_errors=True)

if __name__ == '__main__': main()
