"Lines that fit on a screen, one thing a line: of the package and of its tests"
import ast, io, tokenize
import pytest
from tests.helpers import repo

files = sorted(p for folder in ('quickcls', 'tests', 'docs', 'apps') for p in (repo/folder).rglob('*.py') if p.name != '_modidx.py')
names = [str(p.relative_to(repo)) for p in files]

@pytest.mark.parametrize('name', names)
def test_lines_fit(name):
    "At most 140 columns"
    assert [i for i, line in enumerate((repo/name).read_text(encoding='utf8').split('\n'), 1) if len(line) > 140] == []

@pytest.mark.parametrize('name', names)
def test_statements_have_their_own_lines(name):
    "No semicolon between statements"
    tokens = tokenize.generate_tokens(io.StringIO((repo/name).read_text(encoding='utf8')).readline)
    assert [t.start[0] for t in tokens if (t.type, t.string) == (tokenize.OP, ';')] == []

def test_functions_are_small():
    "Half of them have a body of six lines or fewer, none has more than fifty"
    lengths = {}
    for name in names:
        if not name.startswith('quickcls'): continue
        for n in ast.walk(ast.parse((repo/name).read_text(encoding='utf8'))):
            if not isinstance(n, ast.FunctionDef): continue
            body = n.body[1:] if ast.get_docstring(n) and len(n.body) > 1 else n.body
            lengths[f'{name}: {n.name}'] = body[-1].end_lineno - body[0].lineno + 1
    assert sorted(lengths.values())[len(lengths)//2] <= 6
    assert {k: v for k, v in lengths.items() if v > 50} == {}
