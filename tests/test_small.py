"Images are decoded once for all searches, what is kept of them is theirs, and larger ones stay within their memory"
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import pytest
from tests.helpers import image
import quickcls.pixels.small as small
from quickcls.data.items import scan_folder
from quickcls.duplicates import near
from quickcls.duplicates.prints import take_prints
from quickcls.features.store import Store
from quickcls.findings.properties import properties_of
from quickcls.groups.pixels import small_greys

@pytest.fixture
def table(tmp_path):
    "Twelve images, and a thirteenth with the bytes of the first"
    for i in range(13):
        (tmp_path/'of'/'ab'[i % 2]).mkdir(parents=True, exist_ok=True)
        image(i % 12, 160, 120).save(tmp_path/'of'/'ab'[i % 2]/f'{i:02}.png')
    return scan_folder(tmp_path/'of').table

@pytest.fixture
def decoded(monkeypatch):
    "The paths that are decoded, as they come"
    paths, as_before = [], small.looked_at
    monkeypatch.setattr(small, 'looked_at', lambda path, wanted: paths.append(path) or as_before(path, wanted))
    return paths

def test_all_searches_share_one_decoding(table, decoded, tmp_path):
    store = Store(tmp_path/'store.sqlite')
    for _ in range(2):
        prints, facts, greys = take_prints(table, store), properties_of(table, store), small_greys(table, store)
        assert len(decoded) == 12 == len(set(decoded))
    assert prints.fine.all() and greys.shape == (13, 48, 48) and facts.format.eq('PNG').all()
    one, other = np.flatnonzero(table.sha256.duplicated(keep=False))
    assert (prints.grey[one] == prints.grey[other]).all() and len(np.unique(prints.grey, axis=0)) == 12

def test_what_is_read_is_what_was_computed(table, tmp_path):
    first, again = (small.small_images(table, Store(tmp_path/'store.sqlite')) for _ in range(2))
    for name in ('bytes', 'format', 'grey', 'colours', 'seen', 'fine'):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))

def test_a_damaged_row_is_computed_again(table, decoded, tmp_path):
    store = Store(tmp_path/'store.sqlite')
    first = small.small_images(table, store)
    three = '(select key from embeddings limit 3)'
    with store.db: store.db.execute(f'update embeddings set numbers=cast(substr(numbers, 1, 100) as blob) where key in {three}')
    again = small.small_images(table, store)
    assert len(decoded) == 15 and (first.grey == again.grey).all() and again.fine.all()

def test_a_file_that_changes_costs_its_own_row(table, tmp_path):
    "Before it was looked at, there is nothing of it; afterwards its small copy is still that of the content that was scanned"
    store, path = Store(tmp_path/'store.sqlite'), table.path[1]
    image(99, 50, 50).save(path)
    fine = small.small_images(table, store).fine
    assert fine.sum() == 12 and not fine[1]
    assert properties_of(table, store).grey.isna().tolist() == [i == 1 for i in range(13)]

def test_larger_images_stay_within_their_memory(table, monkeypatch):
    monkeypatch.setattr(near, '_memory', 5*160*120)
    with ThreadPoolExecutor(2) as pool:
        greys = near.Greys(list(table.path), pool)
        for some in ([0, 1, 2, 3], [2, 3, 4, 5, 6], range(13)):
            greys.need(some)
            assert all(r in greys.images for r in some) and greys.bytes == sum(im.nbytes for im in greys.images.values())
            assert len(greys.images) <= max(5, len(some))
        greys.need([0])
        assert len(greys.images) == 5 and 0 in greys.images
