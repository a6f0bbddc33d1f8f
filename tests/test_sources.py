"Whatever holds an image can be asked about, as often as one likes; whatever does not gets an answer of its own"
import array, ctypes, gc, io, mmap, os, tempfile, warnings, zipfile
import numpy as np, pytest
from PIL import Image
from quickcls.all import Classifier
from quickcls.core import QuickclsError
from quickcls.data.formats import NotAnImage
from quickcls.data.images import load_image, several, upright_size
from tests.helpers import as_bytes, image, repo

red_and_blue = Image.new('RGB', (40, 30), 'red')
red_and_blue.paste('blue', (0, 0, 20, 30))
data = as_bytes(red_and_blue, 'PNG')

@pytest.fixture(scope='module')
def net(): return Classifier.load(repo/'tests'/'fixtures'/'saved_classifiers'/'net')

def written(file):
    "A file with the image, its place at the end"
    file.write(data)
    return file

class Path:
    "A path of somebody else"
    def __init__(self, folder): (folder/'a.png').write_bytes(data)
    def __fspath__(self): return 'a.png'

class Whole:
    "A `read` without a size, as httpx has it"
    def read(self): return data

class Drops(io.RawIOBase):
    "A file that gives a few bytes at a time, as a socket does"
    def __init__(self): self.left = data
    def readable(self): return True
    def readinto(self, b):
        n = min(len(b), len(self.left), 7)
        b[:n], self.left = self.left[:n], self.left[n:]
        return n

def starlette(): return pytest.importorskip('starlette.datastructures').UploadFile(written(io.BytesIO()), filename='a.png')
def werkzeug(): return pytest.importorskip('werkzeug.datastructures').FileStorage(written(io.BytesIO()))
def in_an_archive():
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w') as z: z.writestr('a.png', data)
    return zipfile.Path(f, 'a.png')

def mapped():
    f = written(tempfile.TemporaryFile())
    f.flush()
    return mmap.mmap(f.fileno(), 0)

held = dict(
    bytes=lambda: data, bytearray=lambda: bytearray(data), memoryview=lambda: memoryview(data), array=lambda: array.array('B', data),
    every_other_byte=lambda: memoryview(bytes(v for b in data for v in (b, 0)))[::2], ctypes=lambda: (ctypes.c_ubyte*len(data))(*data),
    numpy=lambda: np.frombuffer(data, np.uint8), mmap=mapped, BytesIO=lambda: written(io.BytesIO()), whole=Whole, archive=in_an_archive,
    named=lambda: written(tempfile.NamedTemporaryFile(suffix='.png')), spooled=lambda: written(tempfile.SpooledTemporaryFile()),
    starlette=starlette, werkzeug=werkzeug, ipywidgets=lambda: dict(name='a.png', content=memoryview(data), size=len(data)),
    row_of_a_data_set=lambda: dict(bytes=data, path=None), tornado=lambda: dict(filename='a.png', body=data))


@pytest.mark.parametrize('kind', held)
def test_whatever_holds_the_bytes_of_a_file(kind):
    "Twice: an open file is left where it was"
    source, want = held[kind](), np.asarray(load_image(data, 32))
    for _ in range(2): assert (np.asarray(load_image(source, 32)) == want).all() and upright_size(source) == (40, 30)
    if hasattr(source, 'tell'): assert source.tell() == (0 if kind == 'mmap' else len(data))

def test_a_file_that_cannot_go_back():
    assert (np.asarray(load_image(Drops(), 32)) == np.asarray(load_image(data, 32))).all()
    r, w = os.pipe()
    os.write(w, data)
    os.close(w)
    assert (np.asarray(load_image(os.fdopen(r, 'rb', buffering=0), 32)) == np.asarray(load_image(data, 32))).all()

def test_paths_of_all_kinds(tmp_path, monkeypatch, net):
    monkeypatch.chdir(tmp_path)
    path = Path(tmp_path)
    entry, = os.scandir('.')
    for source in ('a.png', path, entry, tmp_path/'a.png'):
        answer = net.predict(source)
        assert answer.label and answer.path == os.fspath(source)

def test_pixels_of_all_kinds():
    "The same image as an array, a tensor as torchvision has it, and one of fastai"
    torch = pytest.importorskip('torch')
    from fastai.vision.core import PILImage, TensorImage
    a, want = np.array(red_and_blue), np.asarray(load_image(data, 32))
    chw = torch.from_numpy(a).permute(2, 0, 1)
    same = [a, a[:, ::-1][:, ::-1], memoryview(a), torch.from_numpy(a), chw, chw/255, (chw/255).requires_grad_(), TensorImage(chw),
            PILImage.create(io.BytesIO(data)), Image.open(io.BytesIO(data)), np.dstack([a, np.full((30, 40), 255, np.uint8)])]
    for source in same:
        assert (np.asarray(load_image(source, 32)) == want).all() and upright_size(source) == (40, 30)
    grey = np.asarray(load_image(a[..., 0], 32))
    for source in (a[..., :1], chw[:1], chw[0]): assert (np.asarray(load_image(source, 32)) == grey).all()

@pytest.mark.parametrize('mode', '1 L P PA LA La RGBA RGBa RGBX CMYK YCbCr HSV LAB I F I;16 I;16B'.split())
def test_modes_of_pillow(mode):
    via = {'PA': 'P', 'La': 'LA', 'RGBa': 'RGBA'}.get(mode)
    if mode == 'LAB':
        from PIL import ImageCms
        srgb, lab = map(ImageCms.createProfile, ('sRGB', 'LAB'))
        im = ImageCms.profileToProfile(red_and_blue, srgb, lab, outputMode='LAB')
    elif mode.startswith('I;'): im = Image.fromarray(np.array(red_and_blue.convert('I')).astype(np.uint16)).convert(mode)
    else: im = (red_and_blue.convert(via) if via else red_and_blue).convert(mode)
    left, right = (np.asarray(load_image(im, 32))[16, x].astype(int) for x in (2, 29))
    coloured = mode in ('P', 'PA', 'RGBA', 'RGBa', 'RGBX', 'CMYK', 'YCbCr', 'HSV', 'LAB')
    if coloured: assert left[2] > left[0] + 100 and right[0] > right[2] + 100
    else: assert len(set(left)) == len(set(right)) == 1 and (mode == '1' or left[0] < right[0])

class Awaited:
    async def read(self, n=-1): return data

class Explodes:
    def read(self, n): raise RuntimeError('no\nluck')

closed = io.BytesIO(data)
closed.close()
nothing = {
    'None': (None, 'None, not an image; expected a path'), 'object': (object(), 'an object of type object, not an image'),
    'number': (7, 'an object of type int'), 'set': ({1}, 'an object of type set'), 'ragged': ([[1], [2, 3]], 'an object of type list'),
    'no pixels': (np.zeros((0, 9), np.uint8), r'shape \[0, 9\], expected uint8'),
    'no columns': (np.zeros((9, 0, 3), np.uint8), r'\[9, 0, 3\]'),
    'floats': (np.zeros((9, 9)), 'an array of float64'), 'a batch': (np.zeros((1, 9, 9, 3), np.uint8), r'\[1, 9, 9, 3\]'),
    'empty image': (Image.new('RGB', (0, 9)), 'an image of 0 × 9 pixels'), 'text stream': (io.StringIO('x'), 'a text stream'),
    'spooled text': (tempfile.SpooledTemporaryFile(mode='w+'), 'text stream'),
    'text file': (open(repo/'docs'/'parts'/'ok.jpg'), 'a text stream.* open the file with "rb"'), 'closed': (closed, 'closed file'),
    'folder': (repo, 'a folder, not a file'), 'missing': ('gone.jpg', 'No such file'), 'empty text': ('', 'an empty text'),
    'awaited': (Awaited(), 'has to be awaited'), 'explodes': (Explodes(), 'cannot be read: no$'), 'dict': (dict(a=1), 'a dict without'),
    'no bytes': (b'', 'empty file'), 'half': (Image.open(io.BytesIO(data[:60])), 'a damaged image')}


def test_each_source_has_an_answer_of_its_own(net):
    "In a list and alone; a good image beside them is answered; `tag` and `explain` give the same reason"
    sources = [s for s, _ in nothing.values()]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        answers = net.predict([data, *sources, data])
        gc.collect()
    assert not [w for w in warned if 'never awaited' in str(w.message)]
    assert answers[0].label and answers[-1].label and len(answers) == len(sources) + 2
    for (source, said), answer in zip(nothing.values(), answers[1:-1]):
        with pytest.raises(NotAnImage, match=said) as e: load_image(source)
        assert answer.error == str(e.value) and answer.top == [] and '\n' not in answer.error
        assert net.tag(source).error == answer.error
        with pytest.raises(QuickclsError) as e: net.explain(source)
        assert answer.error in str(e.value)
        if not isinstance(source, list): assert net.predict(source).error == answer.error

def test_tensors_that_are_no_images():
    torch = pytest.importorskip('torch')
    for t, said in ((torch.randn(3, 9, 9)*3, 'a tensor with values from'), (torch.full((3, 9, 9), float('nan')), 'from nan to nan'),
                    (torch.zeros(0, 9), r'shape \[0, 9\]'), (torch.zeros(2, 3, 9, 9), r'\[2, 3, 9, 9\]')):
        with pytest.raises(NotAnImage, match=said): load_image(t)

def test_one_upload_is_asked_about_in_every_way(net):
    upload = written(tempfile.NamedTemporaryFile(suffix='.png'))
    want = net.predict(data)
    assert net.predict(upload).top == net.predict(upload).top == want.top
    assert net.explain(upload).label == want.label and net.tag(upload).width == 40 and upload.tell() == len(data)

def test_every_view_sees_an_open_file():
    "A classifier of two views reads it once"
    from quickcls.backbones.registry import parse_views
    clf = Classifier(['a', 'b'], parse_views('resnet18@64+resnet18@96'), 'all', None)
    assert [v.shape for v in clf.prepare(written(io.BytesIO()))] == [(64, 64, 3), (96, 96, 3)]

def test_one_object_many_times(net):
    "Threads take turns with it: a file has one place, a lazy image decodes once"
    photo = as_bytes(image(3, 900, 700), 'PNG')
    want = net.predict(photo).top
    for source in (io.BytesIO(photo), Image.open(io.BytesIO(photo))): assert all(p.top == want for p in net.predict([source]*12))

def test_many_images_in_other_hands(net):
    "The value of an upload widget (versions 7 and 8), a generator, a column of a table"
    import pandas as pd
    want, file = net.predict(data).top, dict(name='a.png', content=memoryview(data))
    for many in ((file, file), {'a.png': file, 'b.png': file}, (data for _ in range(2)), pd.Series([data, data]), map(bytes, [data, data])):
        assert [p.top for p in net.predict(many)] == [want, want]
    assert several(file) is several(data) is several(np.zeros((2, 2), np.uint8)) is several(io.BytesIO()) is several('a.png') is None
    assert net.predict([]) == []
