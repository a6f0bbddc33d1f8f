"Labels come from tables, from names of files and from pairs: each way with splits and groups, and what goes wrong is named with its row"
import os, re
from pathlib import Path
import pandas as pd, pytest
from quickcls.caller import from_command_line
from quickcls.core import QuickclsError
from quickcls.data.items import Items, scan_folder
from quickcls.data.split import split_items
from quickcls.sources.file_names import items_from_names
from quickcls.sources.read import read_items
from quickcls.sources.table import items_from_table
from tests.helpers import as_bytes, image

def draw(root, *names):
    "Images of these names below `root`"
    for i, name in enumerate(names):
        path = root/name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_bytes(image(i, 24, 24), 'PNG' if name.endswith('.png') else 'JPEG'))
    return root

def table(root, text, name='labels.csv', encoding='utf-8'):
    root.mkdir(parents=True, exist_ok=True)
    (root/name).write_bytes(text.encode(encoding))
    return root/name

def labels(items): return {os.path.relpath(p, items.folder): c for p, c in zip(items.table.path, items.table.label)}

def said(items): return '\n'.join([*items.notes, *(s.reason for s in items.skipped)])

# --- each way, with the splits and groups that it can say

numbers = range(24)

def label_of(i): return 'cat' if i % 2 else 'dog'
def group_of(i): return f'g{i//4}' # of both classes
def split_of(i): return 'test' if i >= 16 else 'train'

def rows_of(group, split):
    "A table of the images, with the columns that are wanted"
    t = pd.DataFrame(dict(image=[f'{i:02}.jpg' for i in numbers], label=map(label_of, numbers)))
    if group == 'column': t['patient'] = [group_of(i) for i in numbers]
    if split == 'own': t['split'] = [split_of(i) for i in numbers]
    return t

def of_table(root, group, split, suffix='.csv'):
    draw(root, *rows_of(group, split).image)
    t, path = rows_of(group, split), root/f'labels{suffix}'
    if suffix == '.parquet': t.to_parquet(path)
    else: t.to_csv(path, index=False, sep='\t' if suffix == '.tsv' else ',')
    return dict(source=path)

def of_frame(root, group, split):
    draw(root, *rows_of(group, split).image)
    return dict(source=rows_of(group, split).assign(image=lambda t: [str(root/p) for p in t.image]))

def beside(root, group, split):
    of_table(root/'about', group, split)
    draw(root/'images', *rows_of(group, split).image)
    return dict(source=root/'images', labels=root/'about'/'labels.csv')

def in_names(root, group, split):
    names = [f'{split_of(i) + "/" if split == "own" else ""}{label_of(i)}_{group_of(i)}_{i:02}.jpg' for i in numbers]
    draw(root, *names)
    return dict(source=root, label_pattern='^(?P<label>[a-z]+)_(?P<group>g[0-9]+)' if group == 'column' else '^([a-z]+)_')

def archived(root, group, split):
    import shutil
    folder = of_table(root/'set', group, split)['source'].parent
    return dict(source=shutil.make_archive(str(root/'packed'), 'zip', root, folder.name), labels='labels.csv')

ways = dict(csv=of_table, tsv=lambda *a: of_table(*a, '.tsv'), parquet=lambda *a: of_table(*a, '.parquet'), frame=of_frame, beside=beside,
            names=in_names, archive=archived)

@pytest.mark.parametrize('split', ['own', 'drawn', 'left out'])
@pytest.mark.parametrize('group', ['column', 'none'])
@pytest.mark.parametrize('way', ways)
def test_every_way(way, group, split, tmp_path, own_cache):
    "A split that the source says is kept, another is drawn; a group is never divided"
    if way == 'parquet': pytest.importorskip('pyarrow')
    given = ways[way](tmp_path/'set', group, 'own' if split == 'left out' else split)
    items = read_items(**given, split_by='none' if split == 'left out' else None)
    assert sorted(items.table.label) == ['cat']*12 + ['dog']*12 and not items.skipped
    t = split_items(items, valid_pct=.25).table
    numbered = {int(Path(p).stem[-2:]): s for p, s in zip(t.path, t.split)}
    if split == 'own': assert numbered == {i: split_of(i) for i in numbers}
    else: assert set(numbered.values()) == {'train', 'valid'} and 4 <= sum(s == 'valid' for s in numbered.values()) <= 8
    if group == 'column': assert t.groupby('group').split.nunique().max() == 1 and t.group.nunique() == 6
    else: assert (t.group == t.sha256).all()
    assert all(Path(p).is_relative_to(items.folder) for p in t.path)

@pytest.mark.parametrize('way', ['csv', 'frame', 'beside', 'names'])
def test_groups_by_a_pattern(way, tmp_path):
    "The option `group_pattern` works for every source"
    t = read_items(**ways[way](tmp_path/'set', 'none', 'drawn'), group_pattern=r'(\d)\d\.jpg').table
    assert set(t.group) == {'0', '1', '2'}

def test_pairs(tmp_path):
    draw(tmp_path, 'a.jpg', 'b.jpg')
    items = read_items([(tmp_path/'a.jpg', 'cat'), (str(tmp_path/'b.jpg'), 1)])
    assert labels(items) == {'a.jpg': 'cat', 'b.jpg': '1'} and items.folder == str(tmp_path)
    with pytest.raises(QuickclsError, match=r'Expected pairs: \(path, label\)'): read_items(['a.jpg', 'b.jpg'])

# --- reading

texts = dict(
    comma=('path,label\na.jpg,cat\nb.jpg,dog\n', 'utf-8'),
    bom=('path,label\na.jpg,cat\nb.jpg,dog\n', 'utf-8-sig'),
    utf16=('path,label\na.jpg,cat\nb.jpg,dog\n', 'utf-16'),
    utf16_bare=('path,label\na.jpg,cat\nb.jpg,dog\n', 'utf-16-le'),
    windows=('path;label\r\na.jpg;cat\r\nb.jpg;dog\r\nc.jpg;Bär\r\n', 'cp1252'),
    tabs=('path\tlabel\na.jpg\tcat\nb.jpg\tdog\n', 'utf-8'),
    bars=('path|label\na.jpg|cat\nb.jpg|dog\n', 'utf-8'),
    quotes=('"path","label"\n"a.jpg","cat"\n"b.jpg","dog"\n"c.jpg","tabby, striped"\n', 'utf-8'),
    blank_lines=('\n\npath,label\n\na.jpg,cat\n,\nb.jpg,dog\n\n', 'utf-8'),
    old_mac=('path,label\ra.jpg,cat\rb.jpg,dog\r', 'utf-8'),
    spaces=('path , label\n a.jpg , cat\n b.jpg,dog \n', 'utf-8'),
    no_names=('a.jpg,cat\nb.jpg,dog\n', 'utf-8'),
    folders=('path,label\n./a.jpg,cat\nsub/../b.jpg,dog\n', 'utf-8'),
    windows_paths=('path,label\n.\\a.jpg,cat\n.\\b.jpg,dog\n', 'utf-8'),
)

@pytest.mark.parametrize('kind', texts)
def test_tables_as_they_are_written(kind, tmp_path):
    "Encodings, signs between columns, quotes, empty lines, line ends, a missing head"
    draw(tmp_path, 'a.jpg', 'b.jpg', 'c.jpg')
    text, encoding = texts[kind]
    found = labels(items_from_table(table(tmp_path, text, encoding=encoding)))
    assert {k: found[k] for k in ('a.jpg', 'b.jpg')} == {'a.jpg': 'cat', 'b.jpg': 'dog'}
    if 'c.jpg' in text: assert found['c.jpg'] in ('Bär', 'tabby, striped')

def test_labels_stay_text(tmp_path):
    "01 is not 1, NA may be a class; a name has one Unicode form; what is missing is named"
    draw(tmp_path, *(f'{i}.jpg' for i in range(8)))
    rows = ['01', '1', 'NA', 'Ba\u0308r', 'B\u00e4r', 'nan', '', 'x\u200by']
    items = items_from_table(table(tmp_path, 'path,label\n' + ''.join(f'{i}.jpg,{c}\n' for i, c in enumerate(rows))))
    assert items.vocab == ['01', '1', 'B\u00e4r', 'NA'] and len(items) == 5
    assert [s.reason for s in items.skipped] == ['labels.csv, row 7: no label', 'labels.csv, row 8: no label',
                                                 'labels.csv, row 9: invisible characters in the label']

@pytest.mark.parametrize('dtype', [object, 'int64', 'float64', 'category', 'Int64', 'string'])
def test_numbers_of_a_frame(dtype, tmp_path):
    "Whatever pandas makes of a column, a class is its text"
    draw(tmp_path, *(f'{i}.jpg' for i in range(4)))
    frame = pd.DataFrame(dict(path=[str(tmp_path/f'{i}.jpg') for i in range(4)], label=pd.Series([0, 1, 0, 1]).astype(dtype)))
    assert items_from_table(frame).vocab == ['0', '1']

def test_a_missing_number_of_a_frame(tmp_path):
    draw(tmp_path, *(f'{i}.jpg' for i in range(3)))
    items = items_from_table(pd.DataFrame(dict(path=['0.jpg', '1.jpg', '2.jpg'], label=[1, 2, None])), tmp_path)
    assert items.vocab == ['1', '2'] and items.skipped[0].reason == 'the table, row 2: no label'

def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    "The message says how to get it"
    import builtins
    own = builtins.__import__
    def without(name, *a, **k):
        if name.startswith('pyarrow'): raise ImportError(name)
        return own(name, *a, **k)
    monkeypatch.setattr(builtins, '__import__', without)
    monkeypatch.setattr(pd, 'read_parquet', lambda *a, **k: without('pyarrow'))
    with pytest.raises(QuickclsError, match='pip install pyarrow'): items_from_table(table(tmp_path, 'PAR1', 'labels.parquet'))

# --- columns

@pytest.mark.parametrize('head, rest', [
    ('file,class', ''), ('Image Path,Category', ''), ('fname,target', ''), ('image_id,breed', ''), ('id,label', ''),
    ('label,path', ''), ('name,image,label', 'Rex'), ('whatever,kind', ''),
])
def test_columns_are_found(head, rest, tmp_path):
    "By usual names, by what is in them"
    draw(tmp_path, 'a.jpg', 'b.jpg')
    def line(name, label):
        row = [label, name] if head.startswith('label') else [name, label]
        return ','.join(([rest] if rest else []) + row)
    path = table(tmp_path, '\n'.join([head, line('a.jpg', 'x'), line('b.jpg', 'y')]))
    assert labels(items_from_table(path)) == {'a.jpg': 'x', 'b.jpg': 'y'}

def test_columns_are_named(tmp_path):
    "By name, in another spelling, or by place; both as text and as a dict"
    draw(tmp_path, 'a.jpg', 'b.jpg')
    path = table(tmp_path, 'label,Foto,My Kind,who\n1,a.jpg,x,p\n2,b.jpg,y,p\n')
    as_dict = dict(path='Foto', label='My Kind', group='who')
    for columns in ('path=Foto,label=My Kind', 'path=foto, label=my_kind', 'path=1,label=2', as_dict):
        assert labels(items_from_table(path, columns=columns)) == {'a.jpg': 'x', 'b.jpg': 'y'}
    assert set(items_from_table(path, columns=dict(label='My Kind', group='who')).table.group) == {'p'}

wrong = {
    'path=fotos': r"labels.csv has no column 'fotos' for the path. It has 'photo', 'kind' and 'n'. Did you mean photo\?",
    'photo': 'Expected for example --columns path=file', 'lable=kind': r"names 'lable'.*Did you mean label\?",
    'path=n,label=kind': r"labels.csv: 2 of 2 rows name no image that is there; the first: row 2: there is no image 1; row 3: there is no "
                         r"image 2. Column 'n' was read as the image"
}

@pytest.mark.parametrize('columns', wrong)
def test_wrong_columns(columns, tmp_path):
    draw(tmp_path/'set', 'a.jpg', 'b.jpg')
    path = table(tmp_path/'set', 'photo,kind,n\na.jpg,x,1\nb.jpg,y,2\n')
    with pytest.raises(QuickclsError) as e: items_from_table(path, columns=columns)
    with from_command_line(): assert re.search(wrong[columns], str(e.value)), str(e.value)

def test_columns_that_cannot_be_told(tmp_path):
    draw(tmp_path, 'a.jpg')
    with pytest.raises(QuickclsError, match="has the columns 'photo', 'a' and 'b': none is known as the label. Say which it is"):
        items_from_table(table(tmp_path, 'photo,a,b\na.jpg,1,2\n'))

# --- which file

def test_names_without_folders_and_suffix(tmp_path):
    "As competitions write them; the case of a suffix does not matter"
    draw(tmp_path, 'train_images/10.jpg', 'train_images/11.png', 'train_images/deep/B.JPG', 'x/cat/1.jpg', 'x/dog/1.jpg')
    items = items_from_table(table(tmp_path, 'image_id,label\n10,a\n11,b\nb.jpg,a\ncat/1,b\ndog/1.jpg,a\n'))
    assert sorted(labels(items)) == ['train_images/10.jpg', 'train_images/11.png', 'train_images/deep/B.JPG', 'x/cat/1.jpg', 'x/dog/1.jpg']

def test_a_name_that_may_be_two_files(tmp_path):
    draw(tmp_path, 'a/1.jpg', 'b/1.jpg', 'b/2.jpg', 'b/3.jpg')
    items = items_from_table(table(tmp_path, 'id,label\n1,x\n2,x\n3,y\n'))
    assert len(items) == 2 and 'labels.csv, row 2: the image 1 may be a/1.jpg and b/1.jpg' in said(items)

def test_names_on_disk_in_another_unicode_form(tmp_path):
    draw(tmp_path, 'u\u0308.jpg', 'o\u0308.jpg')
    assert len(items_from_table(table(tmp_path, 'id,label\n\u00fc.jpg,x\n\u00f6,y\n'))) == 2

def test_missing_images(tmp_path):
    "A few are skipped with their rows; many mean that the column or the folder is wrong"
    draw(tmp_path, 'a.jpg', 'b.jpg', 'c.jpg')
    items = items_from_table(table(tmp_path, 'path,label\na.jpg,x\nphotos/14.jpg,x\nb.jpg,y\nc.jpg,y\n'))
    assert [(s.path, s.reason) for s in items.skipped] == [('photos/14.jpg', 'labels.csv, row 3: there is no image photos/14.jpg')]
    many = 'path,label\n' + ''.join(f'no/{i}.jpg,x\n' for i in range(5)) + 'a.jpg,y\n'
    found = 'labels.csv: 5 of 6 rows name no image that is there; the first: row 2: there is no image no/0.jpg; row 3'
    with pytest.raises(QuickclsError, match=found): items_from_table(table(tmp_path, many))
    with pytest.raises(QuickclsError, match='labels.csv, row 2: there is no image x.jpg. Column'):
        items_from_table(table(tmp_path, 'path,label\nx.jpg,a\n'))

outside = ['../secret.jpg', '{root}/secret.jpg', 'sub/../../secret.jpg', '/etc/passwd', '..', '..\\secret.jpg']

@pytest.mark.parametrize('name', outside)
def test_a_table_names_no_other_file_of_the_machine(name, tmp_path):
    "The report shows held-out images: a stranger's table must not choose them"
    draw(tmp_path, 'secret.jpg', 'set/a.jpg', 'set/b.jpg', 'set/sub/c.jpg')
    name = name.format(root=tmp_path)
    path = table(tmp_path/'set', f'path,label\na.jpg,x\nb.jpg,y\n{name},y\n')
    with pytest.raises(QuickclsError, match='labels.csv, row 4: .* is outside of .*set. A table names only images below its folder'):
        items_from_table(path)

def test_who_names_the_folder_may_leave_that_of_the_table(tmp_path):
    "Absolute paths inside the folder are right, too; a program's own table may name any path"
    draw(tmp_path, 'images/a.jpg', 'images/b.jpg')
    rows = f'path,label\n{tmp_path}/images/a.jpg,x\nimages/b.jpg,y\n'
    assert len(items_from_table(table(tmp_path/'about', rows), tmp_path)) == 2
    frame = pd.DataFrame(dict(path=[tmp_path/'images/a.jpg', tmp_path/'about/../images/b.jpg'], label=['x', 'y']))
    items = items_from_table(frame)
    assert len(items) == 2 and items.folder == str(tmp_path/'images')

def test_files_that_are_no_images(tmp_path):
    "Only images are read, whatever a table names"
    draw(tmp_path, 'a.jpg', 'b.jpg')
    (tmp_path/'notes.txt').write_text('my diary')
    os.mkfifo(tmp_path/'pipe.jpg')
    items = items_from_table(table(tmp_path, 'path,label\na.jpg,x\nb.jpg,y\nnotes.txt,x\npipe.jpg,y\n'))
    assert len(items) == 2 and [s.reason for s in items.skipped] == ['text, not an image', 'a named pipe, not a file']

def test_what_is_skipped_names_no_private_folder(tmp_path):
    draw(tmp_path, 'a.jpg', 'b.jpg')
    items = items_from_table(table(tmp_path, f'path,label\na.jpg,x\nb.jpg,y\n{tmp_path}/c.jpg,y\n'))
    assert str(tmp_path) not in said(items) and 'there is no image c.jpg' in said(items)

def test_addresses_in_a_table(tmp_path):
    draw(tmp_path, 'a.jpg')
    with pytest.raises(QuickclsError, match='row 2: https://example.org/a.jpg is a web address. Fetch the images first: `quickcls'):
        items_from_table(table(tmp_path, 'image,label\nhttps://example.org/a.jpg,x\n'))

# --- rows

def test_an_image_twice(tmp_path):
    "With one label once; with two labels neither is right"
    draw(tmp_path, *(f'{i}.jpg' for i in range(12)))
    rows = ''.join(f'{i}.jpg,{"xy"[i % 2]}\n' for i in range(12))
    items = items_from_table(table(tmp_path, f'path,label\n{rows}0.jpg,x\n./1.jpg,x\n'))
    assert len(items) == 11 and 'labels.csv names 2 images more than once' in items.notes
    assert "labels.csv, row 3 says 'x', labels.csv, row 15 'y'" in said(items)

def test_many_images_with_several_labels(tmp_path):
    draw(tmp_path, *(f'{i}.jpg' for i in range(4)))
    rows = ''.join(f'{i}.jpg,{c}\n' for i in range(4) for c in 'xy')
    with pytest.raises(QuickclsError, match='labels.csv gives 4 images more than one label; the first: 0.jpg'):
        items_from_table(table(tmp_path, f'path,label\n{rows}'))

def test_several_labels_an_image(tmp_path):
    "With a separator, in one row or in several"
    draw(tmp_path, *(f'{i}.jpg' for i in range(3)))
    items = items_from_table(table(tmp_path, 'path,labels\n0.jpg,b; a\n1.jpg,a\n2.jpg,b\n2.jpg,c\n'), label_separator=';')
    assert list(items.table.labels) == [('a', 'b'), ('a',), ('b', 'c')] and list(items.table.label) == ['a;b', 'a', 'b;c']

def test_classes_are_chosen(tmp_path):
    draw(tmp_path, *(f'{i}.jpg' for i in range(3)))
    path = table(tmp_path, 'path,label\n0.jpg,a\n1.jpg,b\n2.jpg,c\n')
    items = items_from_table(path, classes='a,c')
    assert items.vocab == ['a', 'c'] and 'b' in said(items)
    with pytest.raises(QuickclsError, match="names 'd'"): items_from_table(path, classes=['a', 'd'])

# --- splits

@pytest.mark.parametrize('column, cells, want', [
    ('is_valid', ['True', 'False', 'False'], ['valid', 'train', 'train']), ('is_valid', [1, 0, 0], ['valid', 'train', 'train']),
    ('is_test', ['no', 'yes', 'no'], ['train', 'test', 'train']), ('is_train', [0, 1, 1], ['valid', 'train', 'train']),
    ('set', ['Val', 'TRAINING', 'train'], ['valid', 'train', 'train']),
    ('Usage', ['PublicTest', 'Training', 'Training'], ['test', 'train', 'train']),
    ('fold', [1, 2, 3], ['valid', 'train', 'train']),
    ('split', ['train', 'train', 'train'], [None]*3), ('set', ['red', 'red', 'blue'], [None]*3),
    ('split', [0, 1, 1], [None]*3),
])
def test_split_columns(column, cells, want, tmp_path):
    draw(tmp_path, *(f'{i}.jpg' for i in range(3)))
    text = f'path,label,{column}\n' + ''.join(f'{i}.jpg,{"xyy"[i]},{c}\n' for i, c in enumerate(cells))
    got = items_from_table(table(tmp_path, text)).table.split
    assert [None if pd.isna(s) else s for s in got] == want

def test_a_split_that_is_none(tmp_path):
    "A wrong word has its row; an empty cell leaves the image out; the option `split_by` leaves the column out"
    draw(tmp_path, *(f'{i}.jpg' for i in range(4)))
    path = table(tmp_path, 'path,label,split\n0.jpg,x,train\n1.jpg,y,train\n2.jpg,y,tset\n3.jpg,x,valid\n')
    with pytest.raises(QuickclsError, match="labels.csv, row 4: 'tset' in column 'split' is no split. Expected train, valid or test"):
        items_from_table(path)
    assert items_from_table(path, split_by='none').table.split.isna().all()
    with pytest.raises(QuickclsError, match='names folders, and labels.csv is a table'): items_from_table(path, split_by='train=a')
    items = items_from_table(table(tmp_path, 'path,label,split\n0.jpg,x,train\n1.jpg,y,train\n2.jpg,y,\n3.jpg,x,valid\n'))
    assert len(items) == 3 and 'labels.csv, row 4: no split' in said(items)

def test_groups_in_two_splits_are_a_doubt(tmp_path):
    draw(tmp_path, *(f'{i}.jpg' for i in range(4)))
    rows = ''.join(f'{i}.jpg,{"xy"[i % 2]},{s},p\n' for i, s in enumerate(['train', 'train', 'test', 'test']))
    items = items_from_table(table(tmp_path, f'path,label,split,group\n{rows}'))
    assert '2 held-out images are in groups with training images' in said(items)

# --- names of files

def test_names_that_do_not_match(tmp_path):
    draw(tmp_path, 'cat_1.jpg', 'dog_1.jpg', 'cover.jpg')
    items = items_from_names(tmp_path, '^([a-z]+)_')
    assert items.vocab == ['cat', 'dog'] and [s.reason for s in items.skipped] == ["its name does not match '^([a-z]+)_'"]
    found = "matches none of 3 images in .* Their names are like 'cat_1.jpg', 'cover.jpg' and 'dog_1.jpg'"
    with pytest.raises(QuickclsError, match=found):
        items_from_names(tmp_path, r'(\d+)-')

@pytest.mark.parametrize('pattern', ['cat', '(a)(b)', '(?P<group>a)', '(a'])
def test_patterns_that_say_no_label(pattern, tmp_path):
    draw(tmp_path, 'cat_1.jpg')
    with pytest.raises(QuickclsError, match='which part is the label|is not a regular expression'): items_from_names(tmp_path, pattern)

@pytest.mark.parametrize('how, test', [({}, {'t'}), (dict(split_by='none'), set()), (dict(split_by='train=learn,test=t'), {'t'})])
def test_splits_of_names(how, test, tmp_path):
    "Folders with usual names, or those that are named; a part of the pattern, too"
    top = 'learn' if how.get('split_by', '').startswith('train') else 'train'
    held = 't' if top == 'learn' else 'test'
    draw(tmp_path, *(f'{f}/{c}_{i}.jpg' for f in (top, held) for c in ('cat', 'dog') for i in range(2)))
    t = items_from_names(tmp_path, '^([a-z]+)_', **how).table
    assert {Path(p).parent.name for p in t.path[t.split == 'test']} == {held for _ in test}

def test_a_split_in_the_name(tmp_path):
    draw(tmp_path, *(f'{s}-{c}_{i}.jpg' for s in ('train', 'val') for c in ('cat', 'dog') for i in range(2)))
    t = items_from_names(tmp_path, '^(?P<split>[a-z]+)-(?P<label>[a-z]+)_').table
    assert [Path(p).name[:3] == 'val' for p in t.path] == list(t.split == 'valid')
    with pytest.raises(QuickclsError, match='finds no split'): items_from_names(tmp_path, '^(?P<split>[tv])[a-z]*-(?P<label>[a-z]+)_')

# --- as fastai spells it

def test_fastai_spellings(tmp_path):
    draw(tmp_path, *(f'images/{c}_{i}.jpg' for c in ('cat', 'dog') for i in range(3)))
    names = sorted(p.name for p in (tmp_path/'images').iterdir())
    frame = pd.DataFrame(dict(name=[n[:-4] for n in names], kind=[n[:3] for n in names], held=[n.endswith('2.jpg') for n in names]))
    frame.to_csv(tmp_path/'labels.csv', index=False)
    want = {n: n[:3] for n in names}
    assert labels(Items.from_csv(tmp_path, folder='images')) == want
    items = Items.from_df(frame, tmp_path, folder='images', suff='.jpg', valid_col='held')
    assert labels(items) == want and (items.table.split == 'valid').sum() == 2
    assert labels(Items.from_name_re(tmp_path/'images', sorted((tmp_path/'images').iterdir()), r'^(.+)_\d')) == want
    draw(tmp_path/'folders', 'cat/1.jpg', 'dog/2.jpg')
    assert labels(Items.from_folder(tmp_path/'folders')) == {'cat/1.jpg': 'cat', 'dog/2.jpg': 'dog'}

# --- which source it is

def test_options_that_do_not_fit(tmp_path):
    draw(tmp_path, 'cat/1.jpg', 'dog/2.jpg')
    path = table(tmp_path, 'path,label\ncat/1.jpg,x\ndog/2.jpg,y\n')
    for how, words in ((dict(columns='path=a'), 'is for a table'), (dict(checksum='0'*64), 'is for archive'),
                       (dict(labels=path, label_pattern='(a)'), 'Expected one of them')):
        with pytest.raises(QuickclsError, match=words): read_items(tmp_path, **how)
    with pytest.raises(QuickclsError, match='Expected one of the two'): read_items(path, labels=path)
    assert read_items(tmp_path).vocab == ['cat', 'dog'] and read_items(path).vocab == ['x', 'y']
    items = scan_folder(tmp_path)
    assert read_items(items) is items

def test_a_folder_with_a_table_and_no_classes(tmp_path):
    "The message says what to type"
    draw(tmp_path/'set', 'a.jpg', 'b.jpg')
    table(tmp_path/'set', 'path,label\na.jpg,x\nb.jpg,y\n')
    with pytest.raises(QuickclsError, match='There is a table: `quickcls train .*set --labels labels.csv` reads labels from it'):
        read_items(tmp_path/'set')
    assert read_items(tmp_path/'set', labels='labels.csv').vocab == ['x', 'y']

def test_a_table_beside_the_folder_that_it_names(tmp_path):
    "`photos/1.jpg` is right for the table, and for `photos` with the table beside it"
    draw(tmp_path, 'photos/1.jpg', 'photos/2.jpg')
    path = table(tmp_path, 'path,label\nphotos/1.jpg,x\nphotos/2,y\n')
    assert labels(read_items(path)) == {'photos/1.jpg': 'x', 'photos/2.jpg': 'y'}
    assert labels(read_items(tmp_path/'photos', labels=path)) == {'1.jpg': 'x', '2.jpg': 'y'}
