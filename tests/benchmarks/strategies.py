"""The dial, the automatic choice and fine-tuning: rows of `make bench`, each from whole `quickcls train` or `compare` processes.

`python -m tests.benchmarks quality auto strategies` runs these alone."""
import json, statistics

marks, seeds = ('fast', 'good', 'best'), (42, 7, 8)

def quality(b, root):
    "What each mark of the dial brings, cross-validated (five folds, twice) and on the held-out images, over three seeds, and what it costs"
    gains = {m: [] for m in marks}
    for name, extra in (
        ('hymenoptera', ()),
        ('flowers', ()),
        ('trashnet', ()),
        ('lego_bricks', ('--group-pattern', r'(photo\d+)-')),
        ('magnetic_tile/images', ()),
    ):
        folder = b.photos(name)
        if not folder: continue
        for mark in marks:
            crossed, held_out = [], []
            for seed in seeds: # folds and splits are drawn anew
                run = b.quality(folder, mark, (*extra, '--seed', seed))
                crossed.append(json.loads((b.tmp/'model'/'metrics.json').read_text())['trust']['cross_validation']['accuracy'])
                held_out.append(run.last['accuracy'])
                if seed == seeds[0]: cost = run.seconds # the pass of a view that is new
            means = statistics.mean(crossed), statistics.mean(held_out)
            goal = .97 if (name, mark) == ('hymenoptera', 'best') else None
            b.row(
                f'{name} --quality {mark}: cross-validated, held out',
                f'{means[0]:.4f}, {means[1]:.4f}; {cost:.1f} s',
                goal and f'>= {goal} both',
                goal and min(means) >= goal,
            )
            if name in ('flowers', 'trashnet', 'lego_bricks'): gains[mark].append(means[0])
    if len(gains['best']) == 3:
        for mark in marks[1:]:
            points = 100*(statistics.mean(gains[mark]) - statistics.mean(gains['fast']))
            b.row(
                f'{mark} beats fast, mean over flowers, trashnet and lego',
                f'{points:+.2f} points',
                '>= 2' if mark == 'best' else '',
                points >= 2 if mark == 'best' else None,
            )
    folder = b.photos('casting')
    for mark in marks if folder else ():
        run = b.quality(folder, mark, ())
        b.row(
            f'casting --quality {mark}: errors in its test',
            f'{run.last["metrics"]["errors"]} of {run.last["n_valid"]}; {run.seconds:.0f} s',
        )


def auto(b, root):
    "casting, nothing on the machine but the embedded backbones: ten minutes to choose and train"
    folder = b.photos('casting')
    if not folder: return
    run = b.auto(folder, 600)
    errors = run.last['metrics']['errors']
    b.row('casting --auto 600, nothing cached: whole process', f'{run.seconds:.0f} s, {run.mb:,.0f} MB', '<= 600 s', run.seconds <= 600)
    b.row(
        '  errors in its test, what was chosen',
        f'{errors} of {run.last["n_valid"]}: {run.last["arch"]}, {run.last["head"]}',
        '<= 1',
        errors <= 1,
    )


def strategies(b, root):
    "parts: how much of the network learns, on the same three splits"
    rows = b.compare(root/'datasets'/'parts', '--arch', 'efficientnet_lite0', '--strategy', 'head,partial,full', '--repeats', '3')
    accuracy = {r.strategy: r.accuracy for r in rows.itertuples()}
    for r in rows.itertuples():
        goal = r.strategy == 'full'
        b.row(
            f'parts, strategy {r.strategy}: three splits',
            f'{r.accuracy:.4f}, {r.seconds:.0f} s',
            '>= head' if goal else '',
            accuracy['full'] >= accuracy['head'] if goal else None,
        )
