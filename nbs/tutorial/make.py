"""Write the notebooks of the tutorial and of the thesis, and execute those with answers: `make tutorial`.

    python nbs/tutorial/make.py                     # all
    python nbs/tutorial/make.py defects_solution    # one
"""
import argparse, os, re, sys, tempfile
from pathlib import Path
import nbformat
from quickcls.sets.notebook import lesson_cells

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent/'datasets'))
from make import execute, machine # of the data sets: the same outputs are kept

mark = '# solution\n'

def drafted(names, values):
    "The cells of drafts, one after the other: (id, kind, source)"
    text = ''.join((here/f'{n}.md').read_text(encoding='utf-8') for n in names)
    return lesson_cells(text, values)

def asked(cells):
    "Cells with questions: the dots to be replaced, and below them the solution, folded"
    for id, kind, source in cells:
        before, _, after = source.partition(mark)
        yield id, kind, before
        folded = f'<details>\n<summary>Solution</summary>\n\n```python\n{after.strip()}\n```\n\n</details>'
        if after: yield f'{id}-folded', 'markdown', folded

def answered(cells):
    "Cells with the solutions in place of the dots"
    for id, kind, source in cells: yield id, kind, source.partition(mark)[2] or source

def notebook(cells):
    "The notebook, not executed"
    make = dict(markdown=nbformat.v4.new_markdown_cell, code=nbformat.v4.new_code_cell)
    nb = nbformat.v4.new_notebook(cells=[make[kind](source.strip(), id=id) for id, kind, source in cells])
    nb.metadata = dict(kernelspec=dict(display_name='python3', language='python', name='python3'))
    return nb

def solutions(nb):
    "Id of a cell → its folded solution, in an exercise"
    found = {c.id.removesuffix('-folded'): re.search('```python\n(.*?)\n```', c.source, re.S) for c in nb.cells if c.id.endswith('-folded')}
    return {id: m[1] for id, m in found.items()}

expected = ('96.1 % of the held-out images on average (94.4 to 98.6 %, seeds 1 to 5), as the card of parts says; a head alone, on the last '
            'level, is below that')
intro = dict(
    exercise='Each question has a cell with dots: put your answer in their place, and run the cell below, which says whether it is right. '
             'It is computed from the data, and from what you trained. The solution is folded below each question. '
             'Look at it when you have tried.',
    solution='The [exercise](defects_exercise.ipynb) with its solutions, executed; then the table of the tutorial.')

def defects_exercise():
    values = dict(title='the exercise', intro=intro['exercise'], expected=expected,
                  minutes='half an hour to an hour; the machine itself works for five minutes (2 cores, no GPU, other work beside it)')
    return notebook(asked(drafted(['defects'], values)))

def defects_solution():
    minutes = f'{machine()}; the tables have the time of each row'
    values = dict(title='the solution', intro=intro['solution'], expected=expected, minutes=minutes)
    return notebook(answered(drafted(['defects', 'defects_table'], values)))

def train_models(): return notebook(drafted(['train_models'], dict(machine=machine())))

def load_models(): return notebook(drafted(['load_models'], dict(machine=machine())))

books = {f.__name__: f for f in (defects_exercise, defects_solution, train_models, load_models)}

def write(name):
    "The notebook, executed where it has answers"
    nb, path = books[name](), here/f'{name}.ipynb'
    if name != 'defects_exercise': execute(nb, here)
    path.write_text(nbformat.writes(nb) + '\n', encoding='utf-8')
    print(f'{path.name}: {path.stat().st_size/1000:.0f} kB')

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', metavar='NAME', default=list(books), help=f'of {", ".join(books)}; default: all')
    args = parser.parse_args()
    os.environ['QUICKCLS_QUIET'] = '1'
    for name in args.names: write(name)
