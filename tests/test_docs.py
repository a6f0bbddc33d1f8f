"What the README and the documentation say is what the program does: their code runs, their commands parse, their links lead somewhere"
import re, runpy, shlex, shutil
import pytest
from tests.helpers import repo, some_parts

pages = {str(p.relative_to(repo)): p.read_text(encoding='utf8') for p in (repo/'README.md', *sorted((repo/'docs').rglob('*.md')))}
written = {n: t for n, t in pages.items() if n != 'docs/cli.md'} # that page is compared as a whole
fence = re.compile(r'^```([a-z]*)[^\n]*\n(.*?)^```', re.S | re.M) # languages: python and sh are code of quickcls; text is anything else
blocks = {n: fence.findall(t) for n, t in pages.items()}
code = {n: [b for language, b in found if language == 'python'] for n, found in blocks.items()}
code = {n: found for n, found in code.items() if found}

compiled_only = { # pages whose code is not run here, and why
    'docs/demo.md': 'asks a page that is open: tests/test_demo.py runs it against one',
    'docs/tracking.md': 'needs wandb and mlflow: tests/test_board.py runs it with stand-ins',
    'docs/saved.md': 'needs a classifier of several labels, and joblib in several processes',
}
long = 'docs/fine_tuning.md', 'docs/coming_from/fastai.md', 'docs/coming_from/keras.md', 'docs/labels.md' # several trainings

@pytest.fixture(scope='module')
def pets(once):
    "A folder as a reader has it: `pets/`, `photos/` with a table, `photo.jpg`, `models/pets`; cats are sound parts, dogs defective ones"
    def fill(folder):
        from quickcls.train.pipeline import train
        folder.mkdir()
        (folder/'docs').symlink_to(repo/'docs')
        some_parts(folder/'datasets'/'parts', slice(20))
        shutil.copy(repo/'docs'/'parts'/'defect.jpg', folder/'photo.jpg')
        (folder/'photos').mkdir()
        lines = ['path,label']
        for label, part in (('cat', 'ok'), ('dog', 'defect')):
            (folder/'pets'/label).mkdir(parents=True)
            for p in (folder/'datasets'/'parts'/part).iterdir():
                for to in (folder/'pets'/label, folder/'photos'): shutil.copy(p, to/f'{label}_{p.name}')
                lines.append(f'{label}_{p.name},{label}')
        (folder/'photos'/'labels.csv').write_text('\n'.join(lines))
        train(str(folder/'pets'), out=str(folder/'models'/'pets'), arch='efficientnet_lite0', quiet=True)
    return once('pets-of-the-documentation', fill)

def run(page, folder):
    "The code of a page, in order, in one namespace"
    names = {'__name__': page}
    for block in code[page]: exec(compile(block, page, 'exec'), names)
    return names

@pytest.mark.parametrize('page', [pytest.param(n, marks=pytest.mark.slow if n in long else ()) for n in code if n not in compiled_only])
def test_the_code_of_a_page_runs(page, pets, drawn, tmp_path, monkeypatch):
    shutil.copytree(pets, tmp_path, symlinks=True, dirs_exist_ok=True)
    if 'models/parts' in ''.join(code[page]) and 'train(' not in ''.join(code[page]): drawn(tmp_path/'models')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MPLBACKEND', 'agg')
    run(page, tmp_path)
    if page == 'README.md': assert (tmp_path/'models'/'parts'/'model.onnx').is_file()
    if page == 'docs/fine_tuning.md': assert (tmp_path/'models'/'parts-learner'/'model.onnx').is_file()

@pytest.mark.parametrize('page', compiled_only)
def test_code_that_is_not_run_here_is_python(page):
    for block in code[page]: compile(block, page, 'exec')

def commands_of(page):
    "Every `quickcls …` of a page's blocks of commands, without its comment"
    for language, block in blocks[page]:
        if language not in ('', 'sh'): continue
        for line in re.sub(r'\\\n\s*', ' ', block).splitlines():
            if '…' in line or not (found := re.search(r'(?:^|\bdo |&& )quickcls ([a-z]+)\b(.*)', line)): continue
            if not line.startswith('quickcls ') and ';' in found[2]: found = re.search(r'quickcls ([a-z]+)\b([^;]*)', line)
            yield found[1], shlex.split(found[2], comments=True)

def test_commands_exist():
    "Each is read as the command line reads it, so an option that does not exist fails"
    from quickcls.cli import command_parser, commands, read_words
    parsers, n = {c: command_parser(c)[0] for c in commands}, 0
    for page in written:
        for name, words in commands_of(page):
            n += 1
            assert name in commands, (page, name)
            try: read_words(parsers[name], words)
            except SystemExit: pytest.fail(f'{page}: quickcls {name} {shlex.join(words)}')
    assert n >= 90

def test_commands_within_sentences_exist():
    "Their name, and each option"
    from quickcls.cli import command_parser, commands
    options, n = {c: {o for a in command_parser(c)[0]._actions for o in a.option_strings} for c in commands}, 0
    for page, text in written.items():
        for name, rest in re.findall(r'`quickcls ([a-z]+)\b([^`\n]*)`', fence.sub('', text)):
            n += 1
            assert name in commands, (page, name)
            assert set(re.findall(r'(?<!\S)--[a-z-]+', rest)) <= options[name], (page, name, rest)
    assert n >= 50

def test_options_within_sentences_exist():
    "An option that is named by itself is one of some command; what other tools call theirs stands in the first column of a table"
    from quickcls.cli import command_parser, commands
    known, n = {o for c in commands for a in command_parser(c)[0]._actions for o in a.option_strings}, 0
    for page, text in written.items():
        for line in fence.sub('', text).splitlines():
            if page.startswith('docs/coming_from/') and line.startswith('|'): line = line.split('|', 2)[2]
            for words in re.findall(r'`(--[^`]*)`', line):
                n += 1
                assert set(re.findall(r'(?<!\S)--[a-z][a-z_-]*', words)) - {'--multi_gpu'} <= known, (page, words) # that is accelerate's
    assert n >= 100

def test_messages_of_the_page_about_problems_are_those_of_the_program():
    "The words in the first column stand in the code"
    code = '\n'.join(p.read_text(encoding='utf8') for p in (repo/'quickcls').rglob('*.py'))
    said = re.findall(r'^\| `([^`]+)` \|', pages['docs/troubleshooting.md'], re.M)
    assert len(said) >= 30 and [m for m in said if m not in code] == []

def test_the_readme_is_short():
    "Two screens: the rest is in the documentation"
    assert len(pages['README.md'].splitlines()) <= 90

def test_the_reference_is_what_help_says(monkeypatch):
    monkeypatch.setenv('COLUMNS', '120')
    page = runpy.run_path(str(repo/'docs'/'make.py'))['help_page']()
    assert (repo/'docs'/'cli.md').read_text() == page, 'run `make docs`'

def anchors(text):
    "The headings of a page as GitHub and the site name them"
    names = [re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', h) for h in re.findall(r'^#{1,6} (.*)', fence.sub('', text), re.M)]
    return {re.sub(r'[^\w\- ]', '', n.lower()).replace(' ', '-') for n in names}

@pytest.mark.parametrize('page', [*pages, 'CONTRIBUTING.md', 'CHANGELOG.md'])
def test_every_link_leads_somewhere(page):
    "To a file that is there, and to a heading that the page has"
    text, folder = fence.sub('', (repo/page).read_text(encoding='utf8')), (repo/page).parent
    for link, _, anchor in re.findall(r'\]\((?!https?:|mailto:)([^)#]*)(#?)([^)]*)\)', text):
        target = (folder/link).resolve() if link else repo/page
        assert target.exists(), link
        if anchor and target.suffix == '.md': assert anchor in anchors(target.read_text(encoding='utf8')), (link, anchor)

def test_the_film_moves_and_is_small():
    "Many images, a minute at most, 2 MB at most"
    from PIL import Image, ImageSequence
    path = repo/'docs'/'train.gif'
    with Image.open(path) as im: times = [f.info['duration']/1000 for f in ImageSequence.Iterator(im)]
    assert len(times) > 20 and sum(times) < 60 and path.stat().st_size <= 2_000_000 and 'docs/train.gif' in pages['README.md']

@pytest.fixture(scope='module')
def site():
    "The names of docs/pages.py"
    return runpy.run_path(str(repo/'docs'/'pages.py'))

def test_every_page_stands_in_the_navigation(site):
    "Each page once; lessons and data sets have their lists"
    to = site['places']()
    names = [f'{n}.md' for group in site['sections'].values() for n in group]
    assert len(set(names)) == len(names)
    assert set(names) <= set(to.values())
    shown = [n for part in site['navigation'](to) for group in part.values() for n in ([group] if isinstance(group, str) else group)]
    assert len(set(shown)) == len(shown)
    assert {t for p, t in to.items() if p.is_relative_to(repo/'docs') and p.suffix == '.md'} <= set(shown)
    assert len(set(to.values())) == len(to)
    lessons = site['lessons_page'](to)
    shown = re.findall(r'\]\(([^)]+\.md)\)', lessons)
    assert sorted(f'lessons/{n}' for n in shown) == sorted(t for t in to.values() if t.startswith('lessons/'))

def test_links_between_files_become_links_between_pages(site):
    to, page = site['places'](), repo/'docs'/'coming_from'/'fastai.md'
    def becomes(text): return site['relinked'](text, page, to)
    assert becomes('[a](../tracking.md#x) [b](https://b.c) [d](../../README.md)') == \
        '[a](../tracking.md#x) [b](https://b.c) [d](../index.md)'
    assert becomes('[e](../../nbs/heads/02_linear.ipynb)') == '[e](../lessons/heads/02_linear.md)'
    assert becomes('[f](../../tests) ![g](../heat.png)') == 'f ![g](../heat.png)' # the site does not show the folder

def test_the_reference_has_each_parameter_with_its_comment(site):
    page = site['api_page']('decide')
    assert '## `class Decision` { #decision }' in page and page.startswith('# decide\n')
    assert all(c in page for c in ('| parameter | type | default | meaning |', '`aim`'))
    assert '### `Classifier.predict` { #classifier.predict }' in site['api_page']('model') # methods too, of later packages as well
    assert '### `Classifier.explain`' in site['api_page']('model')

def test_a_notebook_becomes_a_page(site):
    "Its text, code without directives, what it printed, its images"
    to = site['places']()
    text, images = site['notebook'](repo/'nbs'/'datasets'/'parts.ipynb', to)
    assert '```python\nfrom quickcls.all import *' in text and '#|' not in text and '(parts-card.md)' in text
    assert len(images) >= 3 and all(data[:4] == b'\x89PNG' for data in images.values())

@pytest.mark.slow
def test_the_site_is_built(site, tmp_path):
    "Without a warning; no page asks another host for anything"
    pytest.importorskip('mkdocs')
    import subprocess, sys, yaml
    site['gather'](tmp_path/'docs')
    config = yaml.safe_load((repo/'mkdocs.yml').read_text())
    config |= dict(nav=site['navigation'](site['places']()), docs_dir='docs', site_dir='site')
    (tmp_path/'mkdocs.yml').write_text(yaml.safe_dump(config))
    subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--quiet', '--strict', '-f', str(tmp_path/'mkdocs.yml')], check=True)
    asked = re.compile(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+rel="stylesheet"[^>]+href="(?:https?:)?//')
    found = [*(tmp_path/'site').rglob('*.html')]
    assert len(found) > 200 and [p.name for p in found if asked.search(p.read_text(encoding='utf8'))] == []

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
