"""Gather the pages of the site below build/docs, from Markdown, notebooks and the signatures of the code: `make docs` builds it from there.

Nothing that is gathered is committed. Links between files of the repository become links between pages.
Notebooks become pages as they were saved:
mkdocs-jupyter would do that too, with 0.8 MB a page and a script from another host.
"""
import ast, os, re, shutil, sys
from importlib import import_module
from pathlib import Path

docs = Path(__file__).resolve().parent
root = docs.parent
sys.path[:0] = [str(root)] # of this tree, whatever is installed
sys.path.append(str(docs))
from layout import modules, order, package_of, svg

sections = { # of the navigation; a page that is in none of them stands at the end of the last
    'Start': ('start', 'commands', 'troubleshooting'),
    'Understand': ('how_it_works', 'transfer', 'backbones', 'fine_tuning'),
    'Data': ('better_data', 'doctor', 'labels', 'images', 'datasets'),
    'Trust': ('trust', 'stress', 'none_of_these', 'quality_control', 'deciding', 'explaining'),
    'Use': ('sharing', 'demo', 'line', 'saved', 'many_machines', 'tracking'), # and the apps
    'Coming from': tuple(f'coming_from/{n}' for n in ('retrain', 'keras', 'fastai', 'teachable_machine', 'ultralytics')),
    'Reference': ('cli', 'facts', 'how_it_is_built')}

# what stands beside a page is left out where the page needs the width
hidden = {'index.md': '---\nhide: [navigation]\n---\n', 'facts.md': '---\nhide: [navigation, toc]\n---\n'}

found_last = '---\nsearch: {boost: 0.2}\n---\n' # pages that explain come before the reference, which says `None` often
unsearched = '---\nsearch: {exclude: true}\n---\n' # the code of all lessons would make the search slow

def places()->dict: # File of the repository → its place in the site
    "What is shown, and where"
    found = {root/'README.md': 'index.md', root/'CONTRIBUTING.md': 'contributing.md', root/'CHANGELOG.md': 'changelog.md'}
    for p in docs.rglob('*'):
        if p.suffix in ('.md', '.png', '.svg', '.gif', '.jpg', '.css') or p.name == 'finetune.py': found[p] = str(p.relative_to(docs))
    for p in (root/'nbs').rglob('*.ipynb'):
        if '.ipynb_checkpoints' in p.parts: continue
        of_set = p.parent.name == 'datasets' and not p.name[0].isdigit()
        there = f'sets/{p.name}' if of_set else f'lessons/{p.relative_to(root/"nbs")}'
        found[p] = there.replace('.ipynb', '.md')
    for p in (root/'datasets').glob('*/README.md'): found[p] = f'sets/{p.parent.name}-card.md'
    return found

folders = {root/'apps': 'apps.md', root/'nbs': 'lessons/index.md', root/'quickcls': 'api/index.md',
           root/'nbs'/'datasets': 'sets/index.md'} # links to them lead here

def relinked(text:str, page:Path, to:dict)->str: # `to`: from `places`
    "Links of a page, from its place in the site; what the site does not show is named without a link"
    here = Path(to[page]).parent
    def place(m):
        words, link, anchor = m[1], m[2], m[3] or ''
        target = Path(os.path.normpath(page.parent/link))
        there = to.get(target) or folders.get(target)
        if there is None: return words.removeprefix('!')[1:-1]
        return f'{words}({Path(os.path.relpath(there, here)).as_posix()}{anchor})'
    return re.sub(r'(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?!https?:|mailto:|#)([^)#\s]+)(#[^)]*)?\)', place, text)

def drawn(text:str)->str: # Markdown
    "The graph of the packages as an image: the site loads no script to draw it"
    return re.sub(r'```mermaid\n.*?```', lambda m: '![The packages and their imports](packages.svg)', text, flags=re.S)

def shell(text:str)->str: # Markdown
    "Blocks of commands are marked as such: their comments are coloured, and a phone wraps them"
    return re.sub(r'^```\n(?=(?:quickcls|pip|python3?|make|git|docker) )', '```sh\n', text, flags=re.M)

def notebook(page:Path, to:dict)->tuple: # (Markdown, {name: bytes of an image})
    "A notebook as it was saved, as a page: nothing is executed"
    import base64, nbformat
    parts, images = [], {}
    for c in nbformat.read(page, 4).cells:
        if c.cell_type == 'markdown':
            parts.append(relinked(c.source, page, to))
            continue
        if c.source.startswith('#| hide'): continue
        parts.append(fenced(re.sub(r'^#\|.*\n?', '', c.source, flags=re.M).strip(), 'python'))
        for o in c.get('outputs', []):
            data = o.get('data', {})
            if 'image/png' in data:
                name = f'{page.stem}-{len(images) + 1}.png'
                images[name] = base64.b64decode(data['image/png'])
                parts.append(f'![Output]({name})')
            elif '<iframe' in data.get('text/html', ''): continue # a page that was open then
            elif 'text/html' in data: parts.append(f'<div class="output">\n{unbroken(data["text/html"])}\n</div>')
            elif 'text/markdown' in data: parts.append(data['text/markdown'])
            else:
                text = data.get('text/plain') or o.get('text', '')
                parts.append(fenced(re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', text).strip('\n'), 'text'))
    return '\n\n'.join(filter(None, parts)) + '\n', images

def fenced(text, language): # with more backticks than the text has
    if not text: return ''
    ticks = '`'*max(3, *(len(t) + 1 for t in re.findall('`+', text)), 3)
    return f'{ticks}{language}\n{text}\n{ticks}'

def unbroken(html): return re.sub(r'\n\s*\n', '\n', html.strip()) # an empty line would end it, in Markdown

# the reference of the code

def signature(name:str, thing, level:str='##')->list: # Lines of Markdown
    "A function or class: what it is, what it takes, what it gives; a class with its methods"
    import inspect
    from fastcore.docments import docments
    try: params = docments(thing, full=True, returns=True)
    except Exception: params = {} # a class that is built in C, or a constant, has no signature
    rows = [row(n, p) for n, p in params.items() if n not in ('self', 'cls', 'return')]
    given, kind = params.get('return'), 'class ' if inspect.isclass(thing) else ''
    lines = [f'{level} `{kind}{name}` {{ #{name.lower()} }}', '', (inspect.getdoc(thing) or '').strip().replace('<', '&lt;'), '']
    if rows: lines += ['| parameter | type | default | meaning |', '|---|---|---|---|', *rows, '']
    if given and (given.docment or given.anno not in (None, inspect.Parameter.empty)):
        lines += [f'Gives {" ".join(filter(None, [code(kind_of(given.anno)), cell(given.docment)]))}', '']
    if kind: lines += [l for n, m in methods(thing).items() for l in signature(f'{name}.{n}', m, level + '#')]
    return lines

def methods(cls)->dict: # Name → function
    "What a class offers, that which other modules add to it too; what explains itself in its name is left out"
    import inspect
    found = {}
    for n, m in vars(cls).items():
        m = m.fget if isinstance(m, property) else getattr(m, '__func__', m)
        if not n.startswith('_') and inspect.isfunction(m) and m.__doc__ and m.__module__.startswith('quickcls'): found[n] = m
    return found

def row(name, p):
    import inspect
    default = '' if p.default is inspect.Parameter.empty else code(repr(p.default))
    return f'| {code(name)} | {code(kind_of(p.anno))} | {default} | {cell(p.docment)} |'

def code(text): return f'`{cell(text)}`' if text else ''
def cell(text): return ' '.join(str(text or '').split()).replace('|', '\\|').replace('<', '&lt;')
def kind_of(anno):
    import inspect
    if anno in (None, inspect.Parameter.empty): return ''
    return getattr(anno, '__name__', None) or str(anno).replace('typing.', '')

def public(path:Path)->dict: # Name → function or class
    "What a module offers, in its order"
    names = next((ast.literal_eval(n.value) for n in ast.parse(path.read_text(encoding='utf-8')).body
                  if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '') == '__all__'), [])
    module = import_module('.'.join(path.relative_to(root).with_suffix('').parts))
    return {n: t for n in names if callable(t := getattr(module, n)) and getattr(t, '__module__', '').startswith('quickcls')}

def api_page(package:str)->str: # Markdown
    "The reference of a package"
    import quickcls.all # it adds methods to classes of earlier packages
    lines = [f'# {package}', '']
    for path in (p for p in modules() if package_of(p) == package):
        dotted = '.'.join(path.relative_to(root).with_suffix('').parts)
        what = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))).splitlines()[0]
        lines += [f'**{dotted}**: {cell(what)}', '']
        for name, thing in public(path).items(): lines += signature(name, thing)
    return '\n'.join(lines)

def api_index()->str: # Markdown
    "What users import, and every package"
    from quickcls import all as offered
    rows = []
    for name in offered.__all__:
        thing = getattr(offered, name)
        package = getattr(thing, '__module__', '').split('.')[1:2] or ['model']
        home = package[0] if package[0] in order and package[0] != 'all' else 'model'
        rows.append(f'| [`{name}`]({home}.md#{getattr(thing, "__name__", name).lower()}) | {cell((thing.__doc__ or "").splitlines()[0])} |')
    there = ', '.join(f'[{p}]({p}.md)' for p in order if p != 'all')
    head = '# The code\n\nFrom the signatures and their comments. What `from quickcls.all import *` gives:\n\n| name | |\n|---|---|\n'
    return f'{head}' + '\n'.join(rows) + f'\n\nAll packages, in the order in which they build on each other: {there}.\n'

# lists of notebooks

def title(page:Path)->tuple: # (heading, the sentence below it)
    "What a notebook is about"
    import nbformat
    first = nbformat.read(page, 4).cells[0].source.splitlines()
    return first[0].lstrip('# '), next((l.lstrip('> ') for l in first[1:] if l.strip()), '')

def lessons_page(to:dict)->str:
    "The lessons, in the order of the packages"
    lines = ['# Lessons', '', 'Each module is written as a lesson: the problem, the smallest function that solves it, '
             'why it has that form, an example. They build on each other from top to bottom.', '']
    inside = {p: there for p, there in to.items() if there.startswith('lessons/')}
    for package in ('tutorial', *order): # exercises first: who solves them reads the rest with a question
        of = sorted(p for p in inside if (p.parent.name if p.parent != root/'nbs' else re.sub(r'^\d+[a-z]?_', '', p.stem)) == package)
        if of: lines += [f'## {package}', '', *(f'- [{title(p)[0]}]({inside[p].removeprefix("lessons/")}): {title(p)[1]}' for p in of), '']
    return '\n'.join(lines)

def sets_page(to:dict)->str:
    "The data sets, with their notebooks"
    cards = {there: p for p, there in to.items() if there.startswith('sets/') and there.endswith('-card.md')}
    lines = ['# Data sets, one by one', '', 'What is known about each: source, licence, known faults, accuracy to expect. '
             'An executed notebook where there is one.', '']
    for there, p in sorted(cards.items()):
        heading = re.search(r'^# (.*)', p.read_text(encoding='utf-8'), re.M)[1]
        book = there.replace('-card.md', '.md')
        lines.append(f'- [{heading}]({there.removeprefix("sets/")})' +
                     (f', [notebook]({book.removeprefix("sets/")})' if book in to.values() else ''))
    return '\n'.join(lines) + '\n'

def apps_page()->str:
    "The Gradio apps, as they are"
    lines = ['# Pages in a few lines', '', 'Each is a whole program. '
             '`launch` opens the page with its limits and checks; `ask_page` and the like make it.', '']
    for p in sorted((root/'apps').glob('*/app.py')):
        text = p.read_text(encoding='utf-8').strip()
        lines += [f'## {p.parent.name}', '', ast.get_docstring(ast.parse(text)).splitlines()[0], '', fenced(text, 'python'), '']
    return '\n'.join(lines)

def navigation(to:dict)->list: # As in mkdocs.yml
    "All pages in their sections"
    nav = [dict(Home='index.md'), *({name: [f'{p}.md' for p in pages]} for name, pages in sections.items())]
    listed = {f'{p}.md' for pages in sections.values() for p in pages}
    others = sorted(t for p, t in to.items() if p.is_relative_to(docs) and p.suffix == '.md' and t not in listed)
    nav[-1]['Reference'] += [*others, 'contributing.md', 'changelog.md']
    next(n for n in nav if 'Use' in n)['Use'].insert(2, 'apps.md')
    sets = ['sets/index.md', *sorted(t for p, t in to.items() if t.startswith('sets/') and p.suffix == '.ipynb')]
    return [*nav, {'Data sets': sets}, dict(Lessons=['lessons/index.md']),
            {'Code': ['api/index.md', *(f'api/{p}.md' for p in order if p != 'all')]}]

def gather(out:Path):
    "Write all pages below `out`, which is emptied first"
    to = places()
    shutil.rmtree(out, ignore_errors=True)
    made = {'lessons/index.md': lessons_page(to), 'sets/index.md': sets_page(to), 'api/index.md': api_index(),
            'apps.md': apps_page(), 'packages.svg': svg()}
    made |= {f'api/{p}.md': found_last + api_page(p) for p in order if p != 'all'}
    for p, there in to.items():
        (out/there).parent.mkdir(parents=True, exist_ok=True)
        if p.suffix == '.md':
            text = without_facts(p.read_text(encoding='utf-8'))
            made[there] = hidden.get(there, '') + shell(drawn(relinked(text, p, to)))
        elif p.suffix == '.ipynb':
            text, images = notebook(p, to)
            made[there] = (unsearched if there.startswith('lessons/') else '') + text
            for name, data in images.items(): (out/there).with_name(name).write_bytes(data)
        else: shutil.copy(p, out/there)
    for there, text in made.items():
        (out/there).parent.mkdir(parents=True, exist_ok=True)
        (out/there).write_text(text, encoding='utf-8')

def without_facts(text): return re.sub(r'\A---\n.*?\n---\n', '', text, flags=re.S) # of a card, for the program

if __name__ == '__main__':
    import yaml
    gather(root/'build'/'docs')
    config = yaml.safe_load((root/'mkdocs.yml').read_text(encoding='utf-8'))
    config |= dict(nav=navigation(places()), docs_dir='docs', site_dir='../site')
    (root/'build'/'mkdocs.yml').write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding='utf-8')
