"Embedding on many machines that share a folder: each image once, whatever happens, and a training that needs no image"
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from tests.helpers import MeanColour, image, repo, some_parts, tiny_graph, write_folder

pa = pytest.importorskip('pyarrow')
from quickcls.core import QuickclsError
from quickcls.shards.command import embed_shard
from quickcls.shards.embedder import Embedder
from quickcls.shards.manifest import Shard, get_manifest, list_images, parse_shard, place_of, row_id
from quickcls.shards.parts import ids_done, of_manifest, read_embeddings, read_parts

lite0 = ('--arch', 'efficientnet_lite0', '--offline')

@pytest.fixture(scope='module')
def parts(quickcls, tmp_path_factory):
    "(images, parts of all of them in two shards, the classifier trained on the images themselves)"
    root = tmp_path_factory.mktemp('shards')
    photos = some_parts(root/'photos', slice(0, 30))
    (photos/'ok'/'part_15b.jpg').write_bytes(b'<html>403 Forbidden</html>')
    for shard in ('1/2', '2/2'): assert quickcls('embed', photos, '--shard', shard, '--out', root/'parts', *lite0).returncode == 0
    quickcls('train', photos, *lite0, '--groups', 'names', '--out', root/'local')
    return photos, root/'parts', root/'local'

def small(folder, out, shard=Shard()):
    "What `embed` does, by a stand-in for a network"
    place, out = place_of(folder), place_of(out)
    manifest, done = get_manifest(place, out), ids_done(read_parts(out))
    todo = manifest.filter(pa.array([shard.has(i) and i not in done for i in manifest['id'].to_pylist()]))
    graph = tiny_graph(digest='resnet18-16-0123456789abcdef-v1')
    return embed_shard(todo, Embedder(place, [graph], engines=[MeanColour()]), out, shard)

def test_the_embeddings_are_those_of_a_training(parts):
    "To 1e-3 of their length, for every image once"
    from quickcls.backbones.onnx_graph import get_graph
    from quickcls.backbones.registry import parse_views
    from quickcls.data.items import scan_folder
    from quickcls.features.embed import Embeddings
    photos, folder, _ = parts
    found = read_parts(place_of(folder))
    x, items = np.asarray(read_embeddings(found)), scan_folder(photos)
    e = Embeddings([get_graph(v, offline=True) for v in parse_views('efficientnet_lite0')])
    e.embed(items)
    at = {h: i for i, h in enumerate(found.good.digest)}
    assert len(x) == len(items) == 60 and set(at) == set(items.table.sha256)
    own = e.read(items.table)
    off = np.linalg.norm(x[[at[h] for h in items.table.sha256]] - own, axis=1)/np.linalg.norm(own, axis=1)
    assert off.max() < 1e-3

def test_a_damaged_image_is_a_row_with_a_reason(parts):
    rows = read_parts(place_of(parts[1])).rows
    bad = rows[rows.reason.notna()]
    assert bad.path.tolist() == ['ok/part_15b.jpg'] and 'HTML' in bad.reason.iloc[0] and len(rows) == 61

def test_training_on_parts_is_training_on_the_images(quickcls, parts, tmp_path):
    "The same split, the same accuracy, though the images are gone; what needs pixels is named"
    photos, folder, local = parts
    away = photos.rename(photos.with_name('away'))
    try: p = quickcls('train', '--embeddings', folder, '--offline', '--out', tmp_path/'clf')
    finally: away.rename(photos)
    assert p.returncode == 0, p.stderr
    assert 'no image was opened' in ' '.join(p.stdout.split()) and 'HTML' in p.stdout
    a, b = (json.loads((f/'metrics.json').read_text()) for f in (tmp_path/'clf', local))
    assert a['data']['fingerprint'] == b['data']['fingerprint'] and (a['accuracy'], a['n']) == (b['accuracy'], b['n'])
    defect = repo/'docs'/'parts'/'defect.jpg'
    one, other = (json.loads(quickcls('predict', f, defect, '--json').stdout) for f in (tmp_path/'clf', local))
    assert one['top'][0]['label'] == other['top'][0]['label'] == 'defect'
    assert one['top'][0]['probability'] == pytest.approx(other['top'][0]['probability'], abs=1e-2)

def test_labels_of_a_table_and_of_names(quickcls, parts, tmp_path):
    "As in a training on images"
    _, folder, _ = parts
    names = [r.path for r in read_parts(place_of(folder)).good.itertuples()]
    (tmp_path/'labels.csv').write_text('file,kind,group\n' + ''.join(f'{n},{"a" if i % 2 else "b"},g{i//4}\n' for i, n in enumerate(names)))
    p = quickcls('train', '--embeddings', folder, '--offline', '--labels', tmp_path/'labels.csv', '--out', tmp_path/'table')
    assert p.returncode == 0 and '(a 30, b 30)' in p.stdout, p.stderr
    sides, split = {}, pd.read_csv(tmp_path/'table'/'predictions.csv').set_index('path').split
    for i, n in enumerate(names): sides.setdefault(i//4, set()).add(split[f'photos/{n}'])
    assert all(len(s) == 1 for s in sides.values()) and set.union(*sides.values()) == {'train', 'valid'}
    p = quickcls('train', '--embeddings', folder, '--offline', '--label-pattern', r'^(ok|defect)/', '--out', tmp_path/'names')
    assert p.returncode == 0 and json.loads((tmp_path/'names'/'metrics.json').read_text())['n'] == 18, p.stderr

def test_a_killed_shard_goes_on(tmp_path, cache):
    "After `kill -9` only what no part has is computed again"
    write_folder(tmp_path/'photos', a=120, b=120)
    code = ('import sys, quickcls.shards.command as c; from tests.helpers import MeanColour; from tests.test_shards import small; '
            'c.rows_a_part = c.rows_at_once = 16; MeanColour.__init__.__defaults__ = (.05,); small(*sys.argv[1:])')
    p = subprocess.Popen([sys.executable, '-c', code, str(tmp_path/'photos'), str(tmp_path/'parts')], cwd=repo)
    def files(): return len(list((tmp_path/'parts').glob('part-*')))
    while files() < 3 and p.poll() is None: time.sleep(.02)
    p.send_signal(signal.SIGKILL)
    p.wait()
    n = len(read_parts(place_of(tmp_path/'parts')).rows)
    assert 48 <= n < 240 and n % 16 == 0
    assert small(tmp_path/'photos', tmp_path/'parts')[0] == 240 - n
    assert len(of_manifest(read_parts(place_of(tmp_path/'parts')))[0].good) == 240
    assert small(tmp_path/'photos', tmp_path/'parts')[0] == 0

def test_rows_that_are_there_twice_count_once(tmp_path):
    write_folder(tmp_path/'photos', a=6, b=6)
    small(tmp_path/'photos', tmp_path/'parts')
    part, = (tmp_path/'parts').glob('part-*')
    shutil.copy(part, part.with_name('part-00001-of-00001-again.parquet'))
    found = read_parts(place_of(tmp_path/'parts'))
    assert len(found.rows) == len(read_embeddings(found)) == 12 and found.twice == 12

def test_a_failure_that_may_pass_is_tried_again(tmp_path, monkeypatch):
    "A store that does not answer costs no image; a later run takes it"
    from quickcls.shards import embedder
    from quickcls.shards.manifest import Place
    write_folder(tmp_path/'photos', a=4)
    monkeypatch.setattr(embedder, 'pauses', (0, None))
    down, read, calls = [True], Place.read, []
    def flaky(self, path):
        calls.append(path)
        if down[0] and path.endswith('002.png'): raise TimeoutError('no answer')
        return read(self, path)
    monkeypatch.setattr(Place, 'read', flaky)
    assert small(tmp_path/'photos', tmp_path/'parts')[:2] == (3, 1) and calls.count('a/002.png') == 2
    down[0] = False
    assert small(tmp_path/'photos', tmp_path/'parts')[:2] == (1, 0)
    assert read_parts(place_of(tmp_path/'parts')).rows.reason.isna().all()

def test_images_that_came_later_move_no_other(tmp_path):
    "`relist` adds rows; each other one stays in its shard"
    write_folder(tmp_path/'photos', a=20)
    before = {r['path']: r['id'] for r in list_images(place_of(tmp_path/'photos'))}
    write_folder(tmp_path/'photos', start=20, a=5)
    after = {r['path']: r['id'] for r in get_manifest(place_of(tmp_path/'photos'), place_of(tmp_path/'parts')).to_pylist()}
    assert len(after) == 25 and before.items() <= after.items()

@pytest.mark.parametrize('text', ['5/3', '0/3', 'x', '3', '1/0', '-1/3', '1/3/5', ''])
def test_shards_that_cannot_be(text):
    with pytest.raises(QuickclsError, match='Expected which of how many'): parse_shard(text)

def test_each_image_is_in_one_shard():
    ids = [row_id(f'{i}.jpg', i) for i in range(500)]
    assert all(sum(Shard(i, 7).has(d) for i in range(1, 8)) == 1 for d in ids)

def test_parts_that_do_not_fit(quickcls, parts, tmp_path):
    "What was found, what was expected, what to do, in one line"
    photos, folder, _ = parts
    def said(*words):
        p = quickcls(*words)
        assert p.returncode == 1 and 'Traceback' not in p.stderr
        return ' '.join(p.stderr.split())
    out = shutil.copytree(folder, tmp_path/'parts')
    assert 'by efficientnet_lite0@224/squish f32' in said('embed', photos, '--out', out, *lite0, '--resize', 'pad')
    text = said('train', '--embeddings', out, '--arch', 'efficientnet_lite0@256', '--out', tmp_path/'x')
    assert 'are by efficientnet_lite0@224/squish' in text
    assert '--augment fastai:4 needs the images' in said('train', '--embeddings', out, '--augment', 'fastai:4', '--out', tmp_path/'x')
    (out/'notes.parquet').write_text('no Parquet')
    assert 'notes.parquet is no Parquet file' in said('train', '--embeddings', out, '--out', tmp_path/'x')
    (out/'notes.parquet').unlink()
    gone = next(out.glob('part-00002-*'))
    gone.unlink()
    text = said('train', '--embeddings', out, '--out', tmp_path/'x')
    assert 'shard 2/2 is not finished' in text
    assert f'quickcls embed {photos} --shard 2/2 --out {out} --arch efficientnet_lite0@224/squish' in text
    assert quickcls(*text.partition('To go on: quickcls ')[2].split(), '--offline').returncode == 0
    assert quickcls('train', '--embeddings', out, '--out', tmp_path/'x', '--offline').returncode == 0
    assert 'one would be inside the other' in said('embed', photos, '--out', photos/'parts', *lite0)
    assert 'No parts in' in said('train', '--embeddings', tmp_path/'nowhere', '--out', tmp_path/'y')

def test_parts_of_two_networks(tmp_path):
    write_folder(tmp_path/'photos', a=4)
    small(tmp_path/'photos', tmp_path/'parts', Shard(1, 2))
    graph, out = tiny_graph(digest='resnet18-16-fedcba9876543210-v1'), place_of(tmp_path/'parts')
    rows = [r for r in list_images(place_of(tmp_path/'photos')) if Shard(2, 2).has(r['id'])]
    embed_shard(pa.Table.from_pylist(rows), Embedder(place_of(tmp_path/'photos'), [graph], engines=[MeanColour()]), out, Shard(2, 2))
    with pytest.raises(QuickclsError, match='computed in different ways: .*weights 012345.*weights fedcba|weights fedcba.*weights 012345'):
        read_parts(out)

def test_more_than_the_memory_lies_on_the_disk(quickcls, parts, tmp_path, monkeypatch):
    "Embeddings are read into a file; a training that finds too many for the memory reads them from it in parts, and is as good"
    from quickcls.features import embed
    from quickcls.features.rows import Rows
    assert isinstance(read_embeddings(read_parts(place_of(parts[1]))), Rows)
    accuracy = []
    for most in (embed.most_in_memory, 0):
        monkeypatch.setattr(embed, 'most_in_memory', most)
        p = quickcls('train', '--embeddings', parts[1], '--offline', '--out', tmp_path/str(most))
        assert p.returncode == 0, p.stderr
        accuracy.append(json.loads((tmp_path/str(most)/'metrics.json').read_text())['accuracy'])
    assert abs(accuracy[0] - accuracy[1]) <= .1, accuracy # 60 images: two of the held-out ones

def test_without_pyarrow_the_extra_is_named(python, tmp_path):
    "Not a traceback"
    code = "import sys; sys.modules['pyarrow'] = None; from quickcls.cli import main; print(main(['embed', 'photos']))"
    p = python(f"import contextlib, io; e = io.StringIO()\nwith contextlib.redirect_stderr(e):\n    {code}\nprint(e.getvalue())")
    assert "quickcls[shards]" in p

def test_a_training_takes_as_much_as_fits(quickcls, parts, tmp_path, monkeypatch):
    "A sample by content, said in a line"
    from quickcls.train import from_parts
    for head, numbers in (('ridge', 3584), ('linear', 512)): # a linear head of very many images is fitted in 512 directions
        monkeypatch.setattr(from_parts, 'free_memory', lambda: 40*4*3*numbers*2)
        p = quickcls('train', '--embeddings', parts[1], '--offline', '--folds', '0', '--head', head, '--out', tmp_path/head)
        m = json.loads((tmp_path/head/'metrics.json').read_text())
        assert '40 of 60 images are used' in p.stdout and m['data']['n_train'] + m['n'] == 40, p.stderr
