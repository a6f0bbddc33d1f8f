"Write the generated part of the README: a graph of the packages from their imports, and a list of all modules."
import ast, re, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
order = ('caller', 'core', 'terminal', 'texts', 'folders', 'data', 'sources', 'saved', 'backbones', 'features', 'pixels',
         'duplicates', 'groups', 'heads', 'decide', 'model', 'shards', 'evaluate', 'findings', 'explain', 'stress', 'advice', 'report',
         'multilabel', 'predict', 'trial', 'train', 'doctor', 'sets', 'compare', 'asking', 'app', 'cleaner', 'builder', 'line', 'demo',
         'cli', 'all')
begin, end = '<!-- layout: written by docs/layout.py -->', '<!-- end of layout -->'

def package_of(path:Path)->str: # `quickcls/data/items.py` → `data`
    "The package of a module; for a module outside of packages its own name"
    return path.relative_to(root/'quickcls').with_suffix('').parts[0]

def imports(path:Path)->set: # of packages
    "The packages that a module imports from"
    here, found = ['quickcls', *path.relative_to(root/'quickcls').parts[:-1]], set()
    for n in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(n, ast.ImportFrom): continue
        parts = [*here[:len(here) - n.level + 1], *(n.module or '').split('.')] if n.level else (n.module or '').split('.')
        parts = [p for p in parts if p]
        if parts[:1] == ['quickcls']: found |= {parts[1]} if len(parts) > 1 else {a.name for a in n.names}
    return found & set(order)

def modules()->list: # of paths, in the order of the notebooks
    "All modules of the library"
    place = {}
    for p in (root/'nbs').rglob('[0-9]*_*.ipynb'):
        number, _, name = p.stem.partition('_')
        place[(*p.relative_to(root/'nbs').parts[:-1], name)] = number
    found = [p for p in (root/'quickcls').rglob('*.py') if not p.name.startswith('_')]
    return sorted(found, key=lambda p: (order.index(package_of(p)), place.get(p.relative_to(root/'quickcls').with_suffix('').parts, '')))

def image()->str: # Mermaid, which GitHub draws
    "Packages and their imports, without arrows that follow from others"
    import networkx as nx
    g = nx.DiGraph()
    g.add_nodes_from(order)
    for p in modules(): g.add_edges_from((q, package_of(p)) for q in imports(p) if q != package_of(p))
    edges = sorted(nx.transitive_reduction(g).edges, key=lambda e: (order.index(e[0]), order.index(e[1])))
    return '\n'.join(['```mermaid', 'graph LR', *(f'  {a} --> {b}' for a, b in edges), '```'])

def tree()->str: # Lines of text
    "Every module with the first line of its docstring"
    lines, last = [], None
    for p in modules():
        *above, name = p.relative_to(root/'quickcls').parts
        if above and above[0] != last: lines.append(f'{above[0]}/')
        last = above[0] if above else None
        what = ast.get_docstring(ast.parse(p.read_text(encoding='utf-8'))).splitlines()[0].rstrip('.')
        lines.append(f'{"  "*len(above)}{name:<{22 - 2*len(above)}} {what}')
    return '\n'.join(['```', *lines, '```'])

def layout()->str: return f'{begin}\n{image()}\n\n{tree()}\n{end}'

if __name__ == '__main__':
    readme = root/'README.md'
    text = readme.read_text(encoding='utf-8')
    readme.write_text(re.sub(f'{re.escape(begin)}.*?{re.escape(end)}', lambda m: layout(), text, flags=re.S), encoding='utf-8')
