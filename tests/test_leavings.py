"Files that systems and storage boxes leave, and files that a user names: patterns, brackets, missing ones"
import shutil
import pytest
from tests.helpers import as_bytes, image, write_folder
from quickcls.core import QuickclsError
from quickcls.data.items import describe, scan_folder
from quickcls.data.split import scan_loose
from quickcls.folders.walk import expand, is_leaving

folders = ('@eaDir', '#recycle', '#snapshot', '@Recycle', 'lost+found', 'System Volume Information', 'thumbnails', '$RECYCLE.BIN',
           '.@__thumb')

@pytest.mark.parametrize('name', folders)
def test_copies_in_left_folders_are_no_images(tmp_path, name):
    "Beside the classes and inside them; named and counted"
    write_folder(tmp_path, cat=3, dog=3)
    for at in (tmp_path, tmp_path/'cat'): shutil.copytree(tmp_path/'dog', at/name/'000.png')
    items = scan_folder(tmp_path)
    assert len(items) == 6 and items.vocab == ['cat', 'dog']
    assert 'passed over 6 hidden or system files' in describe(items) and f'{name} (6)' in describe(items)

def test_left_files(tmp_path):
    "Not taken for images or bad files"
    write_folder(tmp_path, cat=3, dog=3)
    for n in ('Thumbs.db', 'desktop.ini', 'ehthumbs.db', '._000.png', 'SYNOPHOTO_THUMB_M.jpg'):
        (tmp_path/'cat'/n).write_bytes(as_bytes(image(99)))
    items = scan_folder(tmp_path)
    assert len(items) == 6 and not items.skipped
    assert 'passed over 5' in items.notes[0] and 'Thumbs.db (1)' in items.notes[0] and '._* (1)' in items.notes[0]

def test_thumbs_beside_images_only(tmp_path):
    "`thumbs` may be a class of gestures; beside photos it holds small copies"
    assert scan_folder(write_folder(tmp_path/'hands', thumbs=3, fists=3)).vocab == ['fists', 'thumbs']
    write_folder(tmp_path/'set', cat=3, dog=3)
    shutil.copytree(tmp_path/'set'/'cat', tmp_path/'set'/'cat'/'thumbs')
    assert len(scan_folder(tmp_path/'set')) == 6

def test_nothing_is_said_where_nothing_was_left(tmp_path):
    "A clean folder has no note; hidden files that are no images are not counted"
    write_folder(tmp_path, cat=3, dog=3)
    (tmp_path/'.git').mkdir()
    (tmp_path/'.git'/'config').write_text('x')
    assert scan_folder(tmp_path).notes == []

def test_background_is_counted_too(tmp_path):
    "`--background` passes over the same"
    write_folder(tmp_path, other=4)
    shutil.copytree(tmp_path/'other', tmp_path/'@eaDir')
    loose = scan_loose(tmp_path)
    assert len(loose) == 4 and 'passed over 4' in loose.notes[-1]

def test_names_of_leavings_are_no_class_names():
    "What would be ignored cannot be taught"
    from quickcls.data.corrections import checked_class_name
    with pytest.raises(QuickclsError, match='reserved'): checked_class_name('@eaDir')
    assert is_leaving('THUMBS.DB') and not is_leaving('thumbs')

# names and patterns

@pytest.fixture
def shots(tmp_path):
    "Folders and files with signs of patterns in their names"
    in_2024 = [f'shots [2024]/{n}' for n in ('a.jpg', 'more/b [1].jpg', '@eaDir/a.jpg')]
    for n in (*in_2024, 'shots 2/c.jpg', 'what?/d.jpg', 'star*/e.jpg'):
        (tmp_path/n).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/n).write_bytes(as_bytes(image(len(n))))
    return tmp_path

@pytest.mark.parametrize('name, found', [
    ('shots [2024]/*.jpg', ['shots [2024]/a.jpg']), ('shots [2024]/*/b [1].jpg', ['shots [2024]/more/b [1].jpg']),
    ('shots [2024]/more/*[1]*', ['shots [2024]/more/b [1].jpg']), ('shots [2]/*', ['shots 2/c.jpg']),
    ('shots [0-9]/*.jpg', ['shots 2/c.jpg']), ('what?/*', ['what?/d.jpg']), ('star*/*', ['star*/e.jpg']), ('*/c.jpg', ['shots 2/c.jpg']),
    ('shots*', ['shots 2/c.jpg', 'shots [2024]/a.jpg', 'shots [2024]/more/b [1].jpg']),
    ('**/*[[]1].jpg', ['shots [2024]/more/b [1].jpg']), ('shots [2024]', ['shots [2024]/a.jpg', 'shots [2024]/more/b [1].jpg'])])
def test_patterns_and_names_with_brackets(shots, name, found):
    "What is there by this name is meant; the rest is a pattern; leavings match none"
    assert [p.relative_to(shots).as_posix() for p in expand([str(shots/name)])] == found

def test_relative_patterns(shots, monkeypatch):
    "From the present folder"
    monkeypatch.chdir(shots)
    assert [str(p) for p in expand(['shots [2024]/*.jpg', './shots 2/*'])] == ['shots [2024]/a.jpg', 'shots 2/c.jpg']

def test_a_missing_name_does_not_end_a_run(shots):
    "It is answered with an error of its own; alone, a pattern without a match is an error"
    names = [str(shots/n) for n in ('gone [1].jpg', 'shots 2/c.jpg', 'nothing/*.jpg', 'gone.jpg')]
    assert [str(p) for p in expand(names)] == names
    assert [str(p) for p in expand(names[:1])] == names[:1]
    with pytest.raises(QuickclsError, match='No file matches'): list(expand(names[2:3]))
