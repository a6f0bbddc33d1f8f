"The notebook that `quickcls new` writes runs to its end on any labelled folder; those of the data sets are what it writes, executed"
import json, re, runpy, shutil
from datetime import datetime
from pathlib import Path
import nbformat, pytest
from tests.helpers import as_bytes, image, repo, write_folder
from quickcls.core import QuickclsError
from quickcls.sets.notebook import as_markdown, file_stem, lesson_notebook, new_notebook

parts = repo/'datasets'/'parts'
several = ('movie_posters',) # labels an image
foreign = ('casting', 'hymenoptera', 'flowers', 'trashnet', 'dogs_angry_happy', 'lego_bricks', 'sushi_tiny', *several)
shows_images = ('look-at-images', 'worst-images', 'heat-map', 'predict') # the cells in which an image of the data can appear
plots = ('each-class', 'how-sure', 'stress', 'confusion-matrix', 'none-of-these', 'learning-curve')
make = runpy.run_path(str(repo/'nbs'/'datasets'/'make.py'))
def plots_of(name): return ('each-label',) if name in several else plots

@pytest.fixture
def run(monkeypatch, cache):
    "Function: path of a notebook → the same, executed in its own folder by a kernel that imports this tree"
    from nbclient import NotebookClient
    monkeypatch.setenv('PYTHONPATH', str(repo))
    def execute(path):
        nb = nbformat.read(path, 4)
        NotebookClient(
            nb, timeout=300, kernel_name='python3', store_widget_state=False, resources=dict(metadata=dict(path=str(Path(path).parent)))
        ).execute()
        return nb
    return execute

def outputs(nb, kinds=('image/png', 'image/jpeg')):
    "Ids of the cells that give an output of such a kind"
    return {c.id for c in nb.cells if c.cell_type == 'code' for o in c.outputs if set(kinds) & set(o.get('data', {}))}

def texts(nb): return '\n'.join(json.dumps(o, ensure_ascii=False) for c in nb.cells if c.cell_type == 'code' for o in c.outputs)

def sample(source, target, n=12):
    "A copy of the first `n` images of each folder"
    for d in sorted({p.parent for p in source.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg', '.png')}):
        (target/d.relative_to(source)).mkdir(parents=True)
        for p in sorted(d.iterdir())[:n]: shutil.copy(p, target/d.relative_to(source)/p.name)
    for table in source.glob('*.csv'): # of labels: the rows of these images
        head, *rows = table.read_text(encoding='utf-8').splitlines()
        there = {p.name for p in target.rglob('*') if p.is_file()}
        (target/table.name).write_text('\n'.join([head, *(r for r in rows if r.partition(',')[0] in there)]) + '\n', encoding='utf-8')
    return target

@pytest.mark.slow
def test_parts_run_to_the_end_twice(run, tmp_path):
    "Everything is shown; the second run replaces the notebook's own classifier and nothing else"
    path = new_notebook(parts, out=tmp_path)
    (tmp_path/'models'/'parts').mkdir(parents=True)
    for _ in range(2): nb = run(path)
    assert outputs(nb) == {*shows_images, *plots} and outputs(nb, ['application/vnd.jupyter.widget-view+json']) == {'upload', 'clean'}
    assert {p.name for p in (tmp_path / 'models').iterdir()} == {'parts', 'parts-notebook', 'parts-notebook-space'} and not list(
        (tmp_path / 'models' / 'parts').iterdir()
    )
    found = [o for c in nb.cells if c.cell_type == 'code' for o in c.outputs]
    assert 'error' not in {o.output_type for o in found} and 'stderr' not in {o.get('name') for o in found} # a bar there is a pink block
    assert 'accuracy 9' in texts(nb) and 'text/html' in next(c for c in nb.cells if c.id == 'upload').outputs[0].data # answers are kept

@pytest.mark.slow
@pytest.mark.parametrize('name', ['hymenoptera', 'flowers', 'lego_bricks'])
def test_real_photographs(run, photos, tmp_path, name):
    assert outputs(run(new_notebook(sample(photos(name), tmp_path/name), out=tmp_path))) == {*shows_images, *plots}

@pytest.mark.slow
def test_names_of_any_kind_and_damaged_files(run, messy_folder, tmp_path):
    "Class and file names hold quotes, tags and other scripts; the folder too"
    folder = messy_folder.root.rename(tmp_path/'<b>it\'s "my" `set` \\ $x$ {n} 寿司')
    path = new_notebook(folder, out=tmp_path/'here.ipynb')
    nb = run(path)
    assert set(plots) - {'how-sure'} <= outputs(nb)
    assert '<b>' not in nb.cells[0].source.replace(r'\<b\>', '')

@pytest.mark.slow
def test_few_images_many_classes_and_sides_of_its_own(run, tmp_path):
    "Classes of one image; too few for folds; forty classes; train and test folders, the test side without some classes"
    few = write_folder(tmp_path/'few', a=2, b=1, c=1)
    many = write_folder(tmp_path/'many', **{f'class {i:02}': 1 + i % 3 for i in range(40)})
    write_folder(tmp_path / 'sides' / 'train', cat=4, dog=4, owl=1)
    write_folder(tmp_path / 'sides' / 'test', start=4, cat=1, dog=2)
    for folder in (few, many, tmp_path/'sides'):
        nb = run(new_notebook(folder, out=tmp_path))
        assert {*shows_images, 'each-class', 'confusion-matrix'} <= outputs(nb), folder

@pytest.mark.slow
def test_without_images_none_is_shown(run, tmp_path):
    nb = run(new_notebook(parts, out=tmp_path, no_images=True))
    assert outputs(nb) == set(plots) and 'show_images = False' in nb.cells[1].source
    assert 'data:image/jpeg' not in (tmp_path/'models'/'parts-notebook'/'report.html').read_text()

@pytest.mark.parametrize('separator', [None, ' '])
def test_cells_are_short_and_each_has_a_sentence(separator):
    nb = lesson_notebook('a', 'a', separator=separator)
    kinds = [c.cell_type for c in nb.cells]
    assert kinds == ['markdown', 'code']*(len(kinds)//2)
    for c in nb.cells:
        assert re.fullmatch('[a-z]+(-[a-z]+)*', c.id)
        if c.cell_type == 'code':
            assert len(c.source.splitlines()) <= 5
            compile(c.source, c.id, 'exec')


@pytest.mark.parametrize(
    'name',
    [
        '<b>x "y"',
        "it's",
        'a`b`',
        '$x$ ${folder} $$',
        'new\nline',
        '```python evil',
        '寿司',
        '🐻',
        '...',
        '-',
        'x' * 250,
        '{{ jinja }}',
        'a\\b',
    ],
)
def test_any_name_stays_text(name):
    "A folder's name is a string in code and plain text in Markdown, and begins no cell"
    nb, plain = lesson_notebook(f'../{name}', name), lesson_notebook('a', 'a')
    assert [c.id for c in nb.cells] == [c.id for c in plain.cells]
    names = {}
    for line in nb.cells[1].source.splitlines()[1:]: exec(line, names)
    assert (
        names['folder'] == f'../{name}'
        and Path(names['model']).parent == Path('models')
        and Path(names['model']).name not in ('', '.', '..')
    )
    assert (
        len(file_stem(name).encode()) < 200
        and not re.search(r'[\\/:*?"<>|\s]', file_stem(name))
        and not re.search(r'(?<!\\)[<>*`$]', as_markdown(name))
    )


def test_what_cannot_be_trained_on_is_refused_with_the_same_words(tmp_path):
    from quickcls.data.items import scan_folder
    from quickcls.data.split import split_items

    write_folder(tmp_path / 'one', cat=3)
    (tmp_path / 'none' / 'cat').mkdir(parents=True)
    write_folder(tmp_path / 'singles', cat=1, dog=1)

    def words(f):
        with pytest.raises(QuickclsError) as e: f()
        return str(e.value)

    for name in ('one', 'none', 'singles', 'nowhere'):
        assert words(lambda: new_notebook(tmp_path / name, out=tmp_path)) == words(lambda: split_items(scan_folder(tmp_path / name)))
    write_folder(tmp_path/'two', cat=3, dog=3)
    assert "'resnet43'" in words(lambda: new_notebook(tmp_path/'two', out=tmp_path, arch='resnet43'))
    assert 'inside the image folder' in words(
        lambda: new_notebook(tmp_path / 'two', out=tmp_path / 'two' / 'a.ipynb')
    ) and 'neither a folder' in words(lambda: new_notebook(tmp_path / 'two', out=tmp_path / 'a.txt'))
    assert not list(tmp_path.rglob('*.ipynb*'))

def test_a_notebook_is_not_overwritten_unless_forced(tmp_path, monkeypatch, capsys):
    "Nor is another file touched; named after the folder, in the current folder, with a path that leads from it"
    write_folder(tmp_path/'my pets', cat=3, dog=3)
    (tmp_path / 'work').mkdir()
    monkeypatch.chdir(tmp_path / 'work')
    path = new_notebook('../my pets')
    assert (
        str(path) == 'my-pets.ipynb'
        and "folder = '../my pets'" in path.read_text()
        and 'my-pets.ipynb' in capsys.readouterr().out
    )
    path.write_text('mine')
    with pytest.raises(QuickclsError, match='force=True'): new_notebook('../my pets')
    assert path.read_text() == 'mine'
    new_notebook('../my pets', force=True)
    nbformat.validate(nbformat.read(path, 4))
    assert [p.name for p in Path('.').iterdir()] == ['my-pets.ipynb']

def test_the_command(tmp_path, monkeypatch, capsys):
    from quickcls.cli import main
    monkeypatch.chdir(tmp_path)
    assert main(['new', str(parts), '--no-images', '--arch', 'efficientnet_lite0']) == 0
    text = Path('parts.ipynb').read_text()
    assert 'show_images = False' in text and "arch='efficientnet_lite0'" in text
    assert main(['new', str(parts)]) == 1 and '--force' in capsys.readouterr().err

def test_questions_come_in_the_order_of_a_careful_person():
    "The doctor first; whoever has several labels an image is asked the same"
    order = ['Is anything wrong', 'Train', 'How good', 'Will it hold', 'Why', 'None of these', 'What next', 'Share']
    for separator in (None, ';'):
        headings = re.findall('^## (.+)$', '\n'.join(c.source for c in lesson_notebook('a', 'a', separator=separator).cells), re.M)
        assert [next(o for o in order if h.startswith(o)) for h in headings[1:]] == order, headings

def test_open_starts_jupyter_or_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    "The notebook is written in both cases"
    import subprocess
    from quickcls.cli import main
    from quickcls.sets import notebook
    write_folder(tmp_path/'two', cat=3, dog=3)
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(subprocess, 'run', lambda words, **how: started.append(words) or subprocess.CompletedProcess(words, 0))
    monkeypatch.setattr(notebook, 'find_spec', lambda name: None)
    assert main(['new', 'two', '--open']) == 0 and 'pip install jupyterlab' in capsys.readouterr().out.splitlines()[-1] and not started
    monkeypatch.setattr(notebook, 'find_spec', lambda name: name == 'jupyterlab')
    assert main(['new', 'two', '--open', '--force']) == 0 and started[0][1:] == ['-m', 'jupyterlab', 'two.ipynb']
    assert main(['new', 'two', '--force']) == 0 and len(started) == 1 and Path('two.ipynb').is_file()

def test_an_error_is_one_line_in_a_notebook():
    "Absent images stop it: without a traceback, with the way to get them"
    from IPython.core.interactiveshell import InteractiveShell
    from quickcls.sets.get import check_images
    shell, shown = InteractiveShell(), []
    shell._showtraceback = lambda kind, value, lines: shown.extend(lines)
    cell = lesson_notebook('nowhere', 'flowers', card='flowers').cells[3].source
    found = shell.run_cell('from quickcls.all import *\nfolder = "nowhere"\n' + cell)
    assert not found.success and shown == [f'QuickclsError: {found.error_in_exec}'] and 'quickcls get flowers' in shown[0]
    check_images(parts, 'parts')
    with pytest.raises(QuickclsError, match='datasets trashnet` says how'): check_images('nowhere', 'trashnet')

def test_several_labels_an_image(tmp_path, monkeypatch, capsys):
    "What training would refuse is refused; the table is named from the notebook"
    from quickcls.cli import main
    write_folder(tmp_path/'set', images=4)
    (tmp_path/'set'/'images.csv').write_text('image,labels\n' + ''.join(
        f'images/{p.name},{"a b" if i % 2 else "a"}\n' for i, p in enumerate(sorted((tmp_path/'set'/'images').iterdir()))))
    monkeypatch.chdir(tmp_path)
    (tmp_path/'books').mkdir()
    words = ['new', 'set', '--label-separator', ' ', '--labels', 'set/images.csv', '--out', 'books']
    assert main(words) == 0
    cells = {c.id: c.source for c in nbformat.read('books/set.ipynb', 4).cells}
    assert "read_labels(folder, separator=' ', table='../set/images.csv')" in cells['look']
    assert "label_separator=' '" in cells['train'] and "labels='../set/images.csv'" in cells['train']
    assert main([*words, '--force', '--split-by', 'none']) == 1 and '--split-by' in capsys.readouterr().err
    assert main([*words[:3], ';', *words[4:], '--force']) == 0 and main(['new', 'set', '--label-separator', '', '--force']) == 1

def test_the_notebook_of_several_labels_runs_on_drawn_images(tmp_path, monkeypatch):
    "All of it but the doctor, which has tests of its own: cell by cell, without a kernel"
    write_folder(tmp_path/'set', images=16)
    paths = sorted((tmp_path/'set'/'images').iterdir())
    rows = [f'images/{p.name},{["red", "red blue", "blue"][i % 3]}\n' for i, p in enumerate(paths)]
    (tmp_path/'set'/'labels.csv').write_text('image,labels\n' + ''.join(rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('QUICKCLS_QUIET', '1')
    shown = []
    names = dict(display=shown.append)
    for c in lesson_notebook('set', 'set', separator=' ', arch='efficientnet_lite0').cells:
        if c.cell_type == 'code' and c.id != 'doctor': exec(compile(c.source, c.id, 'exec'), names)
    assert names['clf'].vocab == ['blue', 'red'] and len(shown) == 3 and Path('models/set-notebook/report.html').is_file()
    assert names['measured'].n == 16 and names['measured'].per_label.images.tolist() == [10, 11]

def test_the_upload_box_answers_and_says_what_is_no_image(tmp_path):
    "Several files at once; names are never HTML"
    from quickcls.train.pipeline import train
    from quickcls.report.answer_html import demo_widget
    write_folder(tmp_path/'set', **{'<i>red</i>': 6, 'b': 6, 'c': 6, 'd': 6})
    box = demo_widget(train(tmp_path/'set', out=tmp_path/'out', arch='efficientnet_lite0', folds='0', quiet=True))
    def upload(**files):
        box.children[0].value = [
            dict(name=n, type='', size=len(b), content=memoryview(b), last_modified=datetime.now()) for n, b in files.items()
        ]
        return box.children[1].value

    said = upload(**{
        '<img src=x onerror=alert(1)>.jpg': as_bytes(image(1)),
        'b.php': as_bytes(image(2)),
        'c.jpg': b'<html>404</html>',
        'd.jpg': as_bytes(image(3, 400, 300))[:900],
        'e.jpg': b'',
    })
    assert (
        said.count('data:image/jpeg;base64,') == 4
        and said.count('%</span>') == 6
        and 'onerror=alert(1)&gt;' in said
        and '<img src=x' not in said
        and '<i>' not in said
    )
    for reason in ('an HTML page, not an image', 'a damaged file', 'empty file'): assert reason in said
    assert upload(**{'f.jpg': as_bytes(image(4))}).count('data:image/jpeg') == 2 # the answers of before are gone

def test_a_missing_ipywidgets_is_named(monkeypatch):
    from quickcls.report.answer_html import demo_widget
    monkeypatch.setitem(__import__('sys').modules, 'ipywidgets', None)
    with pytest.raises(QuickclsError, match='pip install ipywidgets'): demo_widget(None)

# the notebooks of nbs/datasets

def committed(name): return nbformat.read(repo/'nbs'/'datasets'/f'{name}.ipynb', 4)

def source(cell): return re.sub(r"^(folder|model|show_images) = .*$", r'\1 = …', cell.source, flags=re.M)

@pytest.mark.parametrize('name', ['parts', *foreign])
def test_data_set_notebooks_are_what_new_writes(name):
    "But for their opening, which tells what they must; clean, small, executed, without a path of somebody's machine"
    nb, plain = committed(name), make['notebook_of'](name, 'a')
    assert [(c.id, source(c)) for c in nb.cells[1:]] == [(c.id, source(c)) for c in plain.cells[1:]]
    for word in (
        'Source',
        'Licence',
        'Classes',
        'Images',
        'Expected accuracy',
        'seeds 1 to 5',
        'How chosen',
        'Machine',
        'minutes',
        'quickcls train',
    ):
        assert word in nb.cells[0].source, word
    file = repo/'nbs'/'datasets'/f'{name}.ipynb'
    assert file.stat().st_size < 400_000
    assert (
        all(c.outputs for c in nb.cells if c.id in plots_of(name))
        and not [c.id for c in nb.cells if c.metadata]
        and set(nb.metadata) == {'kernelspec'}
    )
    assert not re.search(r'(?<![\w.])/(home|Users|root|tmp|work|var|mnt)/', file.read_text())

@pytest.mark.parametrize('name', foreign)
def test_no_foreign_image_is_committed(name):
    "Only the cells that plot have an image, and images are switched off"
    nb = committed(name)
    assert 'show_images = False' in nb.cells[1].source and outputs(nb, ['image/png', 'image/jpeg', 'image/svg+xml']) <= set(plots_of(name))
    assert not re.search('data:image|<img|<svg', texts(nb))

@pytest.mark.slow
@pytest.mark.parametrize('name', ['parts', *foreign])
def test_data_set_notebooks_run_on_a_small_sample(run, photos, tmp_path, name):
    folder = sample(parts if name == 'parts' else photos(name), tmp_path/name, 60 if name in several else 12)
    nb = committed(name)
    nb.cells[1].source = re.sub('^folder = .*$', lambda m: f'folder = {str(folder)!r}', nb.cells[1].source, flags=re.M)
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs = []
    nbformat.write(nb, tmp_path/f'{name}.ipynb')
    assert set(plots_of(name)) - {'none-of-these'} <= outputs(run(tmp_path/f'{name}.ipynb')) # it may be too small for that

@pytest.mark.parametrize('name', foreign)
def test_where_the_images_are_absent_it_stops_with_one_line(name):
    "The second cell says how to get them; nothing else was printed"
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    shell, shown = InteractiveShell(), []
    shell._showtraceback = lambda kind, value, lines: shown.extend(lines)
    settings, look = [c.source for c in committed(name).cells if c.cell_type == 'code'][:2]
    with capture_output() as printed:
        assert shell.run_cell(re.sub('^folder = .*$', "folder = 'nowhere'", settings, flags=re.M)).success
        assert not shell.run_cell(look).success
    assert len(shown) == 1 and f'images of {name} are not in nowhere' in shown[0] and '\n' not in shown[0] and not printed.stdout
    assert 'quickcls get' in shown[0] or 'quickcls datasets' in shown[0]

@pytest.mark.parametrize('name', ['parts', *foreign])
def test_each_data_set_has_a_card(name):
    "With its figures filled in"
    text = (repo/'datasets'/name/'README.md').read_text()
    assert '@@' not in text and all(f'| {word} |' in text for word in ('Source', 'Licence', 'Images')) and '| quickcls |' in text
