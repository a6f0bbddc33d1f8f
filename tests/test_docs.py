"What the README and the reference say is what the program does"
import re, runpy
import pytest
from tests.helpers import repo, some_parts

def blocks(language): return re.findall(rf'```{language}\n(.*?)```', (repo/'README.md').read_text(), re.S)

def test_python_blocks_of_the_readme_run(tmp_path, monkeypatch):
    "In order, in one namespace, as a reader would; on a sixth of the images"
    (tmp_path/'docs').symlink_to(repo/'docs')
    some_parts(tmp_path/'datasets'/'parts', slice(20))
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks('python'): exec(compile(block, 'README.md', 'exec'), names)
    assert (tmp_path/'models'/'parts'/'model.onnx').is_file() and (tmp_path/'models'/'parts-learner'/'model.onnx').is_file()

def test_commands_of_the_readme_exist():
    "Every `quickcls …` line parses"
    from quickcls.cli import command_parser
    lines = [l for b in blocks('') for l in re.findall(r'^quickcls (\w+) (.*?)(?:\s+#.*)?$', b, re.M)]
    assert len(lines) >= 3
    for name, words in lines: command_parser(name)[0].parse_args(words.split())

def test_the_reference_is_what_help_says(monkeypatch):
    monkeypatch.setenv('COLUMNS', '120')
    page = runpy.run_path(str(repo/'docs'/'make.py'))['help_page']()
    assert (repo/'docs'/'cli.md').read_text() == page, 'run `make docs`'

def test_every_link_of_the_readme_leads_somewhere():
    for link in re.findall(r'\]\((?!http)([^)#]+)\)', (repo/'README.md').read_text()): assert (repo/link).exists(), link

@pytest.mark.slow
def test_parts_are_what_the_script_draws(tmp_path):
    "Nobody painted over them: redrawn, each image is the same but for the last bits"
    import numpy as np
    from PIL import Image
    namespace = runpy.run_path(str(repo/'datasets'/'parts'/'draw.py'))
    namespace['draw_set'](tmp_path/'parts', tmp_path/'held', 4, 7)
    for p in sorted((tmp_path/'parts').glob('*/*.jpg')):
        a, b = (np.asarray(Image.open(f)).astype(int) for f in (p, repo/'datasets'/'parts'/p.relative_to(tmp_path/'parts')))
        assert np.abs(a - b).mean() < 2

def test_the_photographs_are_those_that_are_listed(photos):
    "Each set that tests read has a line in `photos.csv`; what is here is what the line says"
    from tests.photos import folder, found, listed
    used = {m for f in (repo/'tests').glob('test_*.py') for m in re.findall(r"\bphotos\('(\w+)", f.read_text(encoding='utf8'))}
    lines = listed()
    assert used and used <= set(lines)
    for name, line in lines.items():
        if (folder/name).is_dir(): assert found(folder/name) == (int(line['files']), line['sha256'])
