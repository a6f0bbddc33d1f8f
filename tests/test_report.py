"What is handed on: a page that needs no network, stays small, shows names as text and says what is missing"
import json, re
import numpy as np, pytest
from PIL import Image
from quickcls.report.card import write_card
from quickcls.core import QuickclsError
from quickcls.report.record import read_facts
from quickcls.report.page import write_report
from tests.helpers import as_bytes, classifier_folder, full_trust, image

hostile = [
    '<img src=x onerror=alert(1)>',
    '</script><script>alert(1)</script>',
    '"><svg onload=alert(1)>',
    '{{ 7*7 }}',
    'a|b *c* `d` [e](http://f) ]]>',
    '--- \nx: [y',
    "it's & $x^2$ &lt;",
    'NA',
]


def folder_of(tmp_path, vocab, n=60, shape=(90, 60), **kw):
    "A classifier's folder with images on disk, those of the training too"
    (tmp_path/'images').mkdir()
    paths = [str(tmp_path/'images'/f'{i:03}.jpg') for i in range(2*n)]
    for i, p in enumerate(paths): image(i, *shape).save(p)
    table = classifier_folder(tmp_path/'model', vocab, n, images=paths, **kw)
    return tmp_path/'model', table

def add_neighbours(folder, table, vocab):
    "neighbours.csv and cross_validation.csv, as a training leaves them"
    held, train = table[table.split == 'valid'], table[table.split == 'train']
    worst = held[held.label != held.predicted].nlargest(24, 'loss').path
    import pandas as pd

    pd.DataFrame([
        {'path': p, 'class': c, 'nearest': train.path.iloc[i], 'similarity': 0.9 - 0.1 * i} for p in worst for i, c in enumerate(vocab[:6])
    ]).to_csv(folder / 'neighbours.csv', index=False)
    table.assign(split='fold').to_csv(folder/'cross_validation.csv', index=False)

def blocks(page):
    "The JSON that the page's script reads: (cells, thumbs)"
    return [
        json.loads(re.search(rf'<script type="application/json" id="{id}">(.*?)</script>', page, re.S)[1]) for id in ('cells', 'thumbs')
    ]


def sections(page): return set(re.findall(r'<details class="part" id="(\w+)"', page))

def test_every_part_is_there(tmp_path):
    "Two classes, all of `trust`, neighbours: each section has its figures"
    vocab = ['defect', 'ok']
    folder, table = folder_of(tmp_path, vocab, trust=full_trust(vocab), command='quickcls train /home/ann/secret/pets --out m/pets')
    add_neighbours(folder, table, vocab)
    page = write_report(folder).read_text()
    for text in (
        'Accuracy, cross-validated',
        'Few images of ok.',
        'Add images of defect.',
        '1 in 200',
        'average precision',
        'temperature 1.30',
        '--class-weights',
        '0123456789abcdef',
        'nearest <bdi>ok',
        'recall, cross-val.',
        'quickcls train pets --out pets',
    ):
        assert text in page, text
    assert '/home/ann' not in page # a page to share
    assert page.count('<svg') == 4 and 'in no section' not in page
    cells, thumbs = blocks(page)
    errors = int((table[table.split == 'valid'].label != table[table.split == 'valid'].predicted).sum())
    assert sum(len(v) for k, v in cells['cells'].items() if k in ('0-1', '1-0')) == errors and sum(map(len, cells['cells'].values())) == 60
    assert all(str(r[5]) in thumbs for k in ('0-1', '1-0') for r in cells['cells'][k]) and all(
        t.startswith('data:image/jpeg;base64,') for t in thumbs.values()
    )


def test_nothing_comes_from_a_network(tmp_path):
    folder, _ = folder_of(tmp_path, ['a', 'b', 'c'], trust=full_trust(['a', 'b', 'c']))
    page = write_report(folder).read_text()
    assert (
        re.findall(
            r'(?:https?:)?//[\w.]+', re.sub(r'data:image/jpeg;base64,[\w+/=]+', '', page).replace('xmlns="http://www.w3.org/2000/svg"', '')
        )
        == []
    )
    assert not re.search(r'<link|<iframe|<script src|@import|url\((?!#)|fetch\(|XMLHttp|<a href="(?!#)', page)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and 'http' not in policy

def test_the_policy_names_the_one_script(tmp_path):
    import base64, hashlib
    folder, _ = folder_of(tmp_path, ['a', 'b'])
    page = write_report(folder).read_text()
    script, = re.findall(r'<script>(.*?)</script>', page, re.S)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in page

def test_hostile_names_are_text(tmp_path):
    "In tables, labels, figures, warnings, notes, skipped files and JSON; neither tags nor templates"
    folder, table = folder_of(tmp_path, hostile, n=80, wrong=.6, trust=full_trust(hostile), command=f'quickcls train "{hostile[0]}"')
    add_neighbours(folder, table, hostile)
    m = json.loads((folder/'metrics.json').read_text())
    (folder / 'metrics.json').write_text(
        json.dumps(
            m
            | dict(
                notes=[hostile[0]],
                skipped=[dict(path=hostile[1], reason=hostile[2])],
                data=m['data'] | dict(folder=hostile[0], group_pattern=hostile[1]),
            )
        )
    )
    page = write_report(folder, name=hostile[1]).read_text()
    assert page.count('<script') == 3 and not re.search(r'<(img src|svg onload)', page) and '{{ 7*7 }}' in page
    assert blocks(page)[0]['classes'] == hostile

def test_hostile_names_in_the_card(tmp_path):
    "The header is YAML that gives the names back, the tables keep their columns, nothing becomes a tag"
    yaml, markdown = pytest.importorskip('yaml'), pytest.importorskip('markdown_it')
    folder, _ = folder_of(tmp_path, hostile, n=80, trust=full_trust(hostile), command=f"quickcls train '{hostile[0]}/```'")
    m = json.loads((folder/'metrics.json').read_text())
    (folder/'metrics.json').write_text(json.dumps(m | dict(data=m['data'] | dict(folder='/home/ann/a: "b" # <i>'))))
    text = write_card(read_facts(folder, name='--- x: [y')).read_text()
    _, header, body = text.split('---\n', 2)
    header = yaml.safe_load(header)
    assert (header['library_name'], header['pipeline_tag'], header['model-index'][0]['name']) == (
        'quickcls',
        'image-classification',
        '--- x: [y',
    )
    assert (
        header['model-index'][0]['results'][0]['dataset']['name'] == 'a: "b" # <i>'
        and header['model-index'][0]['results'][0]['metrics'][0]['type'] == 'accuracy'
    )
    shown = markdown.MarkdownIt('gfm-like', dict(html=True, linkify=False)).render(body)
    assert not re.search(r'<(img|script|svg|i|em|a)\b', shown) and '&lt;img src=x onerror=alert(1)&gt;' in shown
    rows = re.findall(r'<tr>(.*?)</tr>', shown, re.S)
    assert {len(re.findall('<t[hd]', r)) for r in rows} == {2, 5} and sum('class="' in r for r in rows) == 0

def test_the_card_tells_no_paths(tmp_path):
    folder, _ = folder_of(
        tmp_path,
        ['cat', 'dog'],
        trust=full_trust(['cat', 'dog']),
        command='quickcls train /home/ann/secret/pets --out /home/ann/m --weights=/mnt/w.pth',
    )
    text = write_card(read_facts(folder)).read_text()
    assert 'ann' not in text.replace('cannot', '') and 'secret' not in text and str(tmp_path) not in text
    assert 'quickcls train pets --out m --weights=w.pth' in text and '90.0%' in text and '87.0% to 92.0%' in text

def test_a_card_that_somebody_changed_stays(tmp_path):
    folder, _ = folder_of(tmp_path, ['cat', 'dog'])
    write_report(folder)
    first = (folder/'README.md').read_text()
    write_report(folder)
    assert (folder/'README.md').read_text() == first
    (folder/'README.md').write_text('My cats.')
    write_report(folder)
    assert (folder/'README.md').read_text() == 'My cats.'

@pytest.mark.parametrize(
    'gone', ['cross_validation', 'calibration', 'learning_curve', 'class_weights', 'warnings', 'trust', 'metrics.json']
)
def test_each_part_may_be_missing(tmp_path, gone):
    vocab = ['a', 'b', 'c', 'd']
    folder, table = folder_of(tmp_path, vocab, trust={k: v for k, v in full_trust(vocab).items() if k != gone} if gone != 'trust' else None)
    if gone == 'metrics.json': (folder/gone).unlink()
    page = re.sub('base64,[^"]+', '', write_report(folder).read_text())
    for text in (page, (folder/'README.md').read_text()): assert not re.search(r"\b(None(?! of these)|NaN|nan|Undefined)\b", text)
    if gone == 'trust': assert '--folds 0' in page and not {'sure', 'unknown', 'more', 'balance', 'limits'} & sections(page)

def test_gone_and_damaged_images_have_a_placeholder(tmp_path):
    folder, table = folder_of(tmp_path, ['a', 'b'], wrong=.4)
    (tmp_path / 'images' / '000.jpg').unlink()
    (tmp_path / 'images' / '001.jpg').write_bytes(b'<html>')
    (tmp_path / 'images' / '002.jpg').write_bytes(as_bytes(image(1))[:200])
    cells, thumbs = blocks(write_report(folder).read_text())
    assert sum(not t for t in thumbs.values()) == 3
    for p in (tmp_path/'images').iterdir(): p.unlink()
    page = write_report(folder).read_text()
    assert 'image not found' in page and 'could not be read' in page

def test_images_may_be_left_out(tmp_path):
    folder, _ = folder_of(tmp_path, ['a', 'b'])
    page = write_report(folder, images=False).read_text()
    assert 'data:image' not in page and blocks(page)[1] == {}

def test_thumbnails_carry_nothing_but_pixels(tmp_path):
    from quickcls.report.thumbnails import thumbnail

    exif = Image.Exif()
    exif[0x010E] = 'shot by Ann'
    exif[0x0112] = 6
    (tmp_path/'a.jpg').write_bytes(as_bytes(image(1, 400, 200), exif=exif, comment=b'at home', icc_profile=b'profile'))
    import base64, io
    raw = base64.b64decode(thumbnail(tmp_path/'a.jpg').partition(',')[2])
    assert Image.open(io.BytesIO(raw)).size == (64, 128) and not re.search(b'Ann|home|profile', raw)

def test_five_thousand_noisy_images_fit_into_five_megabytes(tmp_path):
    "Forty classes with long names; noise is the worst that JPEG can meet"
    import time
    (tmp_path/'noise').mkdir()
    rng = np.random.default_rng(0)
    for i in range(50): Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(tmp_path/'noise'/f'{i}.jpg')
    paths = [str(tmp_path/'noise'/f'{i:05}-{"long-name-" * 4}図.jpg') for i in range(10_000)]
    for i, p in enumerate(paths[:5000]): (tmp_path/'noise'/p).symlink_to(tmp_path/'noise'/f'{i % 50}.jpg')
    vocab = [f'class number {i} <of forty>' for i in range(40)]
    table = classifier_folder(tmp_path/'model', vocab, 5000, wrong=.3, images=paths, trust=full_trust(vocab))
    add_neighbours(tmp_path/'model', table, vocab)
    started = time.perf_counter()
    page = write_report(tmp_path/'model').read_text()
    seconds, cells = time.perf_counter() - started, blocks(page)
    print(f'{len(page.encode())/1e6:.2f} MB, {len(cells[1])} thumbnails, {seconds:.1f} s')
    assert 3.5e6 < len(page.encode()) < 5e6 and len(cells[1]) > 100 and seconds < 60
    held = table[table.split == 'valid']
    worst = held[held.label != held.predicted].nlargest(12, 'loss').path
    shown = {r[0] for rows in cells[0]['cells'].values() for r in rows if cells[1].get(str(r[5]))}
    from quickcls.report.sections import file_name
    assert {file_name(p) for p in worst} <= shown

def test_hundreds_of_classes_are_folded(tmp_path):
    vocab = [f'class {i}' for i in range(300)]
    classifier_folder(tmp_path/'model', vocab, 900)
    page = write_report(tmp_path/'model').read_text()
    matrix = page.split('aria-label="Confusion matrix"')[1].split('</table>')[0]
    assert '251 other classes' in matrix and len(re.findall('<tr[^>]*><th scope="row" title=', matrix)) == 50 and len(page) < 3e6

def test_half_written_folder_and_other_places(tmp_path):
    folder, _ = folder_of(tmp_path, ['a', 'b'])
    out = write_report(folder, name='pets', out=tmp_path/'pets.html', max_miss=.1)
    page = out.read_text()
    assert (
        out == tmp_path / 'pets.html'
        and '<title>pets: report</title>' in page
        and '1 in 10' in page
        and '# pets' in (folder / 'README.md').read_text()
        and not (folder / 'report.html').exists()
    )
    assert write_report(folder, name='pets', out=tmp_path/'again.html', max_miss=.1).read_text() == page # the same each time

def test_clear_ends(tmp_path):
    with pytest.raises(QuickclsError, match='classifier.json.*quickcls train'): write_report(tmp_path)
    folder, _ = folder_of(tmp_path, ['a', 'b'])
    with pytest.raises(QuickclsError, match='max_miss.*1.5'): write_report(folder, max_miss=1.5)
    (folder/'metrics.json').write_text('{')
    with pytest.raises(QuickclsError, match='metrics.json'): write_report(folder)

@pytest.mark.parametrize('module', ['record', 'card', 'page'])
def test_import_is_light(python, module):
    heavy = ('torch', 'fastai', 'pandas', 'numpy', 'matplotlib', 'sklearn', 'jinja2', 'huggingface_hub', 'openvino', 'onnx')
    assert python(f'import sys, quickcls.report.{module}; print([m for m in {heavy} if m in sys.modules])').strip() == '[]'

def test_the_first_screen_says_how_good_it_is_and_what_to_do(tmp_path):
    "The figure of cross-validation, which rests on more images; the weakest class; three steps, the last one shares it"
    vocab = ['defect', 'ok']
    folder, table = folder_of(tmp_path, vocab, wrong=.1, trust=full_trust(vocab))
    add_neighbours(folder, table, vocab)
    first = re.search('<section id="answer".*?</section>', write_report(folder).read_text(), re.S)[0]
    assert '90.0%' in first and '90 of 100' in first and '(87 to 92)' in first and '120 images' in first
    assert re.search(r'Weakest class:</b> <bdi>(defect|ok): \d+ of its \d+ images', first) and first.count('<li>') == 3
    assert 'quickcls demo model --space' in first and not re.search('macro|F1|recall|interval|calibrat', first)

@pytest.mark.parametrize('errors', [0, 1])
def test_no_mistake_and_one(tmp_path, errors):
    folder, table = folder_of(tmp_path, ['a', 'b'], wrong=0)
    table.loc[:errors - 1, 'predicted'] = 'b'
    table.to_csv(folder/'predictions.csv', index=False)
    page = write_report(folder).read_text()
    assert ('All 60 tested images were right' in page) == (errors == 0)
    assert ('1 of its 30 images is missed' in page) == (errors == 1)

def test_the_author_is_kept(tmp_path):
    "In the folder of the classifier; a bad name is refused, and the name is text"
    folder, _ = folder_of(tmp_path, ['a', 'b'])
    assert 'by <bdi>' not in write_report(folder).read_text()
    write_report(folder, author=' Ann  <b>Lee</b> ')
    assert 'by <bdi>Ann &lt;b&gt;Lee&lt;/b&gt;</bdi>' in write_report(folder).read_text()
    with pytest.raises(QuickclsError, match='200'): write_report(folder, author='x'*201)
    with pytest.raises(QuickclsError, match='author'): write_report(folder, author=' ')

def test_a_page_made_again_keeps_its_images_when_the_data_is_gone(tmp_path):
    "From the page that is replaced; for a page elsewhere, from the report in the folder; else from packed thumbnails"
    import zipfile
    folder, table = folder_of(tmp_path, ['a', 'b'], wrong=.4)
    add_neighbours(folder, table, ['a', 'b'])
    shown = {k for k, t in blocks(write_report(folder).read_text())[1].items() if t}
    (tmp_path/'images').rename(tmp_path/'elsewhere')
    said = []
    assert {k for k, t in blocks(write_report(folder, say=said.append).read_text())[1].items() if t} == shown
    assert 'kept' in said[0]
    assert {k for k, t in blocks(write_report(folder, out=tmp_path/'other.html').read_text())[1].items() if t} == shown
    (folder/'report.html').unlink()
    files = sorted((tmp_path/'elsewhere').iterdir())
    with zipfile.ZipFile(folder/'pictures.zip', 'w') as z:
        z.writestr('index.json', json.dumps({str(tmp_path/'images'/f.name): f.name for f in files}))
        for f in files: z.writestr(f.name, f.read_bytes())
    assert {k for k, t in blocks(write_report(folder).read_text())[1].items() if t} == shown
