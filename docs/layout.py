"Write the generated part of docs/how_it_is_built.md: a graph of the packages from their imports, and a list of all modules."
import ast, re, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
order = ('caller', 'core', 'terminal', 'texts', 'folders', 'data', 'sources', 'saved', 'backbones', 'features', 'pixels',
         'duplicates', 'groups', 'heads', 'decide', 'model', 'shards', 'evaluate', 'findings', 'explain', 'stress', 'advice',
         'report', 'multilabel', 'predict', 'stress_command', 'train', 'doctor', 'sets', 'compare', 'asking', 'app', 'cleaner',
         'builder', 'line', 'demo', 'cli', 'all')
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

def packages(): # networkx.DiGraph
    "Packages and their imports, without arrows that follow from others"
    import networkx as nx
    g = nx.DiGraph()
    g.add_nodes_from(order)
    for p in modules(): g.add_edges_from((q, package_of(p)) for q in imports(p) if q != package_of(p))
    return nx.transitive_reduction(g)

def image()->str: # Mermaid, which GitHub draws
    "The packages as a graph"
    edges = sorted(packages().edges, key=lambda e: (order.index(e[0]), order.index(e[1])))
    return '\n'.join(['```mermaid', 'graph LR', *(f'  {a} --> {b}' for a, b in edges), '```'])

def rows(g)->tuple: # (lists of names, from top to bottom; edge → names that its line passes)
    "Every package below what it imports; a line that passes a row has a place of its own there; neighbours stand near each other"
    import networkx as nx
    level = {n: i for i, layer in enumerate(nx.topological_generations(g)) for n in layer}
    found, ways = [[] for _ in range(max(level.values()) + 1)], {}
    for n in g: found[level[n]].append(n)
    for a, b in g.edges:
        passed = [f'{a}>{b}:{i}' for i in range(level[a] + 1, level[b])]
        for i, n in enumerate(passed, level[a] + 1): found[i].append(n)
        ways[a, b] = [a, *passed, b]
    steps = [pair for way in ways.values() for pair in zip(way, way[1:])]
    for turn in range(24): # down and up by turns: each goes to the mean place of its neighbours in the row before
        down = turn % 2 == 0
        for i in range(1, len(found)) if down else range(len(found) - 2, -1, -1):
            beside = {n: (k + .5)/len(found[i - 1 if down else i + 1]) for k, n in enumerate(found[i - 1 if down else i + 1])}
            near = {n: [beside[q] for pair in steps for m, q in (pair, pair[::-1]) if m == n and q in beside] for n in found[i]}
            mean = {n: sum(v)/len(v) if v else .5 for n, v in near.items()}
            found[i].sort(key=mean.get)
    return found, ways

def svg()->str:
    "The packages as an image, for the site: each below what it imports"
    found, ways = rows(packages())
    wide, high, gap = 112, 30, 26 # of a box; between the places of a row
    width = max(sum(wide if n in order else gap for n in r) + gap*(len(r) + 1) for r in found)
    at = {}
    for i, r in enumerate(found):
        x = (width - sum(wide if n in order else gap for n in r) - gap*(len(r) - 1))/2
        for n in r:
            own = wide if n in order else gap
            at[n] = x + own/2, 24 + 62*i
            x += own + gap
    def line(way):
        (x, y), *rest = [at[n] for n in way]
        text = f'M{x:.0f} {y + high/2:.0f}'
        y += high/2
        for k, (u, v) in enumerate(rest):
            end = v - high/2 - (4 if k == len(rest) - 1 else 0)
            text += f'C{x:.0f} {y + 16:.0f} {u:.0f} {end - 16:.0f} {u:.0f} {end:.0f}'
            x, y = u, end
            if k < len(rest) - 1: text += f'V{v + high/2:.0f}'
            y = v + high/2 if k < len(rest) - 1 else end
        return f'<path d="{text}"/>'
    placed = [(n, *xy) for n, xy in at.items() if n in order]
    size = f'width="{wide}" height="{high}" rx="6"'
    boxes = ''.join(f'<rect x="{x - wide/2:.0f}" y="{y - high/2:.0f}" {size}/>' for _, x, y in placed)
    names = ''.join(f'<text x="{x:.0f}" y="{y + 5:.0f}">{n}</text>' for n, x, y in placed)
    tall = 62*len(found) - 14
    look = 'font-family="system-ui, sans-serif" font-size="15" text-anchor="middle"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {tall}" {look}>'
            f'<rect width="{width:.0f}" height="{tall}" rx="10" fill="#fff"/><defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0 8 4 0 8z" fill="#5b7690"/></marker></defs>'
            f'<g fill="none" stroke="#5b7690" stroke-width="1.4" marker-end="url(#a)">{"".join(map(line, ways.values()))}</g>'
            f'<g fill="#e8f0f8" stroke="#3b5b7c">{boxes}</g><g fill="#16202c">{names}</g></svg>')

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
    page = root/'docs'/'how_it_is_built.md'
    text = page.read_text(encoding='utf-8')
    page.write_text(re.sub(f'{re.escape(begin)}.*?{re.escape(end)}', lambda m: layout(), text, flags=re.S), encoding='utf-8')
