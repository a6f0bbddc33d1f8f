"Good images of odd kinds: much metadata, 16 bits and floats, no data, a transparent colour, a missing end, 108 megapixels, turned"
import io, os, struct, zlib
from importlib.util import find_spec
import numpy as np
import pytest
from PIL import Image
from tests.helpers import as_bytes, flat_png, halves, image, png_header, repo, with_orientation
from quickcls.core import QuickclsError
from quickcls.data import workers as pool
from quickcls.data.decoding import Wanted, decode, memory_needed, spread_of_values
from quickcls.data.formats import NotAnImage, image_memory, open_image, reason_not_an_image, without_metadata
from quickcls.data.images import load_image, looked_at, small_image, upright_size
from quickcls.data.items import scan_folder

T = Image.Transpose
ways_back = (None, T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_90, T.TRANSVERSE, T.ROTATE_270)
stored = dict(enumerate(ways_back, 1)) # orientation → how its pixels lie in the file

def square(source, size=64): return np.asarray(load_image(source, size)).astype(int)
def grey(source): return square(source)[..., 0]
def same(a, b): return np.array_equal(square(a), square(b))

# metadata

def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def with_chunk(png, extra, late=False):
    "A PNG with a chunk before its pixels, or behind them"
    at = len(png) - 12 if late else png.index(b'IDAT') - 4
    return png[:at] + extra + png[at:]

long = bytes(3*2**20)
heavy = {
    'zTXt': chunk(b'zTXt', b'Comment\0\0' + zlib.compress(long)),
    'iTXt': chunk(b'iTXt', b'Comment\0\1\0\0\0' + zlib.compress(long)),
    'plain iTXt': chunk(b'iTXt', b'Comment\0\0\0\0\0' + b'x'*len(long)),
    'tEXt': chunk(b'tEXt', b'Comment\0' + b'x'*len(long)),
    'XMP': chunk(b'iTXt', b'XML:com.adobe.xmp\0\1\0\0\0' + zlib.compress(long)),
    'profile': chunk(b'iCCP', b'name\0\0' + zlib.compress(long)),
    'profile of another method': chunk(b'iCCP', b'name\0\7' + b'x'),
    'EXIF': chunk(b'eXIf', b'II*\0\x08\0\0\0' + long),
    'many texts': chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(2**20 - 9)))*70,
    'damaged text': chunk(b'tEXt', b'a\0b')[:-1] + b'?',
    'unknown': chunk(b'teSt', b'x'*len(long)),
}

@pytest.mark.parametrize('late', [False, True])
@pytest.mark.parametrize('name', heavy)
def test_metadata_never_refuses_a_png(name, late):
    png = as_bytes(image(3), 'PNG')
    assert same(with_chunk(png, heavy[name], late), png)

def test_a_bomb_in_metadata_is_never_unpacked():
    "Two gigabytes of zeros in two megabytes"
    pack = zlib.compressobj(9)
    packed = b''.join(pack.compress(bytes(2**20)) for _ in range(64)) + pack.flush()
    text = b'XML:com.adobe.xmp\0\1\0\0\0' + packed
    assert without_metadata(with_chunk(as_bytes(image(3), 'PNG'), chunk(b'iTXt', text))) == as_bytes(image(3), 'PNG')

@pytest.mark.parametrize('late', [False, True])
@pytest.mark.parametrize('how', ['eXIf', 'zTXt', 'tEXt', 'iTXt'])
def test_the_orientation_of_a_png_is_kept(how, late):
    "Wherever it stands, and without decoding the image for it"
    exif = with_orientation(6).tobytes()
    raw = ('\nexif\n%8d\n' % len(exif) + exif.hex()).encode()
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    extra = {
        'eXIf': chunk(b'eXIf', exif[6:]),
        'zTXt': chunk(b'zTXt', b'Raw profile type exif\0\0' + zlib.compress(raw)),
        'tEXt': chunk(b'tEXt', b'Raw profile type exif\0' + raw),
        'iTXt': chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + xmp),
    }[how]
    png = with_chunk(as_bytes(image(3, 60, 40).transpose(T.ROTATE_90), 'PNG'), extra, late)
    assert upright_size(png) == (60, 40) and same(png, image(3, 60, 40))

def test_the_facts_of_a_png_need_no_decoding():
    "Its pixels are damaged, and the size is told all the same"
    png = as_bytes(image(3), 'PNG')
    at = png.index(b'IDAT') + 4
    im = open_image(png[:at] + b'x'*20 + png[at+20:])
    assert decode(png[:at] + b'x'*20 + png[at+20:], Wanted()).width == 64 and im.size == (64, 48)

# 16 bits, floats, no data

picture = np.asarray(Image.fromarray(np.random.default_rng(4).integers(40, 220, (6, 6), dtype=np.uint8)).resize((80, 60), 3))
dim = 1000 + picture.astype(np.uint16)*5 + np.arange(60, dtype=np.uint16)[:, None] % 3 # not made from 8 bits: 1,200 to 2,100
files = dict(png=lambda a: as_bytes(Image.fromarray(a), 'PNG'), tiff=lambda a: as_bytes(Image.fromarray(a), 'TIFF'), array=lambda a: a)

kinds_of_number = (
    'png uint16', 'tiff uint16', 'tiff >u2', 'tiff int32', 'tiff float32', 'array uint16', 'array int64', 'array float64'
)

@pytest.mark.parametrize('times', [257, 256, 64, 16, 4, 1])
@pytest.mark.parametrize('kind', kinds_of_number)
def test_the_same_picture_in_8_and_16_bits(kind, times):
    "However the 16 bits were made: to the bit the same pixels"
    form, dtype = kind.split()
    assert same(files[form]((picture.astype(int)*times).astype(dtype)), picture)

@pytest.mark.parametrize('a', [picture/255, (picture/255).astype(np.float32), picture.astype(float), picture.astype(np.float16)])
def test_floats_from_0_to_1_and_to_255(a):
    assert same(a, picture) and same(as_bytes(Image.fromarray(a.astype(np.float32)), 'TIFF'), picture)
    colour = np.dstack([a, a, a])
    assert same(colour, picture) and same(np.dstack([colour, np.full(a.shape, 1 if a.max() <= 1 else 255)]), picture)

def test_a_photo_with_noise_below_8_bits():
    "16 bits that are more than an 8-bit picture, and use half of the range: the same picture, rounded"
    noise = np.random.default_rng(1).uniform(-120, 120, picture.shape)
    assert abs(square(files['png']((picture*257. + noise).round().astype(np.uint16))) - square(picture)).max() <= 1

@pytest.mark.parametrize('form', ['png', 'tiff', 'array'])
@pytest.mark.parametrize('value', [0, 65535, 5000])
def test_one_hot_or_dead_pixel_changes_nothing_else(form, value):
    a = dim.copy()
    a[30, 40] = value
    wrong = abs(grey(files[form](a)) - grey(files[form](dim))) > 6
    assert wrong[26:38, 26:38].sum() >= wrong.sum() - 1 and np.ptp(grey(files[form](dim))) > 240

@pytest.mark.parametrize('value', [-9999, -32768, -99999, np.nan, np.inf, -np.inf, 1e38, -3.4e38])
@pytest.mark.parametrize('form', ['tiff', 'array'])
def test_pixels_without_data_are_black_and_take_no_contrast(form, value):
    a = dim.astype(np.float32)
    a[:30, :40] = value
    got, want = grey(files[form](a)), grey(files[form](dim))
    assert (got[2:28, 2:28] == 0).all() and np.percentile(abs(got - want)[36:], 99) < 12

def test_no_data_of_whole_numbers():
    a = dim.astype(np.int32)
    a[:30, :40] = -9999
    got = grey(files['tiff'](a))
    assert (got[2:28, 2:28] == 0).all() and np.ptp(got[36:]) > 200
    a = dim.copy()
    a[:30, :40] = 65535 # 12 bits, and a mark above them
    assert np.ptp(grey(files['png'](a))[36:]) > 200

def test_the_mark_that_a_geotiff_names():
    from PIL.TiffImagePlugin import ImageFileDirectory_v2
    tags, a = ImageFileDirectory_v2(), dim.copy()
    tags[42113], a[:30, :40] = '1700', 1700
    got = grey(as_bytes(Image.fromarray(a), 'TIFF', tiffinfo=tags))
    assert (got[2:28, 2:28] == 0).all()

def test_negative_values_are_values():
    "Vegetation from -1 to 1, a CT from -1,024 to 3,071"
    for low, high in ((-1, 1), (-1024, 3071)):
        a = np.linspace(low, high, 4800, dtype=np.float32).reshape(60, 80)
        got = grey(files['tiff'](a))
        assert got[0, 0] <= 3 and got[-1, -1] >= 252 and abs(got[32].mean() - 128) < 4

def test_nothing_but_no_data():
    for a in (np.full((9, 9), np.nan, np.float32), np.full((9, 9), np.inf, np.float32)):
        with pytest.raises(NotAnImage, match='none of its pixels has a value'): load_image(files['tiff'](a))

@pytest.mark.parametrize('value', [0, 100, 1000, 30_000, 65_535])
def test_an_image_of_one_value_is_even(value):
    got = grey(files['png'](np.full((20, 20), value, np.uint16)))
    assert np.ptp(got) == 0 and (got[0, 0] == value if value <= 100 else True) and (got[0, 0] == 255 if value == 65_535 else True)

def test_masks():
    "Two values are black and white: truth values, 0 and 1, 0 and 65535, -1 and 1"
    mask = np.indices((40, 40)).sum(0) % 40 < 20
    for a in (mask, mask.astype(np.uint16), mask*np.uint16(65535), mask.astype(np.int32)*2 - 1, mask.astype(float)):
        assert same(a, mask*np.uint8(255)), a.dtype

@pytest.mark.parametrize('a', [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint16), np.array([['a', 'b']]), np.zeros((0, 9), np.float32)])
def test_arrays_that_are_no_images(a):
    with pytest.raises(QuickclsError, match='[Ee]xpected uint8'): load_image(a)

def test_large_images_of_16_bits_strip_by_strip(monkeypatch):
    "The range is that of the whole image, not of a strip"
    from quickcls.data import decoding
    a = np.repeat(np.linspace(1000, 3001, 900).astype(np.uint16)[:, None], 700, 1)
    whole = np.asarray(decoding.as_shape(Image.fromarray(a), 1, Wanted('squish', 32)), int)
    monkeypatch.setattr(decoding, 'large', 1000)
    assert abs(np.asarray(decoding.as_shape(Image.fromarray(a), 1, Wanted('squish', 32)), int) - whole).max() <= 3
    assert np.ptp(whole) > 240 and spread_of_values(a) == pytest.approx((1000, 3001), abs=5)

# a transparent colour

def clear(png, *values): return with_chunk(png, chunk(b'tRNS', struct.pack(f'>{len(values)}H', *values)))

def packed(bits, above, below):
    "A grey PNG of 1, 2 or 4 bits"
    row = lambda v: b'\0' + bytes([sum(v << bits*i for i in range(8//bits))])*(40*bits//8)
    return _png(40, 40, bits, 0, row(above)*20 + row(below)*20)

def deep_colour(above, below):
    "A colour PNG of 16 bits, which Pillow does not write"
    row = lambda v: b'\0' + struct.pack('>3H', *v)*40
    return _png(40, 40, 16, 2, row(above)*20 + row(below)*20)

def _png(w, h, bits, colour, rows):
    head = struct.pack('>IIBBBBB', w, h, bits, colour, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')

steps16 = np.repeat(np.linspace(1000, 3000, 40).astype(np.uint16)[:, None], 40, 1)
transparent = {
    'RGB': clear(as_bytes(halves((255, 0, 0), (1, 2, 3)), 'PNG'), 1, 2, 3),
    'L': clear(as_bytes(halves(200, 7, 'L'), 'PNG'), 7),
    '1': clear(packed(1, 1, 0), 0),
    'grey of 2 bits': clear(packed(2, 2, 1), 1),
    'grey of 4 bits': clear(packed(4, 9, 3), 3),
    'P': as_bytes(halves('red', 'blue').quantize(4), 'PNG', transparency=halves('red', 'blue').quantize(4).getpixel((0, 39))),
    'grey of 16 bits': clear(as_bytes(Image.fromarray(np.where(np.arange(40)[:, None] < 20, steps16, 0).astype(np.uint16)), 'PNG'), 0),
    'colour of 16 bits': clear(deep_colour((65535, 0, 0), (300, 20_000, 7)), 300, 20_000, 7),
}

@pytest.mark.parametrize('name', transparent)
def test_a_transparent_colour_lies_on_white(name):
    a = square(transparent[name], 40)
    assert (a[25:] == 255).all() and (name == '1' or not (a[5:15] == 255).all())

def test_a_transparent_colour_of_a_large_image():
    "More than 16 megapixels are taken strip by strip"
    im = Image.new('RGB', (4400, 4000), (1, 2, 3))
    im.paste('red', (0, 0, 4400, 2000))
    a = square(clear(as_bytes(im, 'PNG'), 1, 2, 3), 40)
    assert (a[25:] == 255).all() and (a[:15] == (255, 0, 0)).all()

@pytest.mark.parametrize('mode', ['LA', 'La', 'PA', 'RGBA', 'RGBa', 'CMYK', 'YCbCr', 'P', '1', 'I', 'F', 'I;16'])
def test_pil_images_of_any_mode(mode):
    im = halves('white', 'black').convert('L')
    ways = dict(La='LA', RGBa='RGBA', PA='P')
    if mode in ways: im = im.convert(ways[mode])
    im = Image.fromarray(np.asarray(im)*np.uint16(257)) if mode == 'I;16' else im.convert(mode)
    assert im.mode == mode and abs(square(im, 40) - square(halves('white', 'black'), 40)).max() <= 2

# a missing end

rough = Image.fromarray(np.random.default_rng(0).integers(1, 256, (60, 80, 3), dtype=np.uint8)).resize((400, 300), 3)
whole = {
    'JPEG': as_bytes(rough, quality=90),
    'grey JPEG': as_bytes(rough.convert('L'), quality=90),
    'CMYK JPEG': as_bytes(rough.convert('CMYK'), quality=90),
    'progressive JPEG': as_bytes(rough, quality=90, progressive=True),
    'PNG': as_bytes(rough, 'PNG'),
    'BMP': as_bytes(rough, 'BMP'),
}

@pytest.mark.parametrize('name', whole)
def test_a_file_whose_end_is_missing_is_used_with_a_note(name):
    data = whole[name]
    for cut in (data[:-13], data[:int(.98*len(data))]):
        got = looked_at(cut, Wanted('squish', 64))
        assert got.note == 'its end is missing' and abs(np.asarray(got.image).astype(int) - square(data)).mean() < 6
    assert looked_at(data, Wanted('squish', 64)).note is None

@pytest.mark.parametrize('name', [n for n in whole if 'JPEG' in n])
def test_a_jpeg_without_its_end_marker(name):
    "Also with the zeros of a download behind it; what lies behind a good one does not matter"
    data = whole[name]
    assert data.endswith(b'\xff\xd9')
    for cut in (data[:-2], data[:-1], data[:-2] + bytes(5000)): assert same(cut, data) and looked_at(cut).note == 'its end is missing'
    assert same(data + b'a film of three seconds'*99, data) and looked_at(data + bytes(99)).note is None

@pytest.mark.parametrize('share', [.9, .75, .5, .2])
@pytest.mark.parametrize('name', [n for n in whole if n != 'progressive JPEG'])
def test_a_file_of_which_much_is_missing_is_refused(name, share):
    data = whole[name]
    cut = data[:int(share*len(data))]
    for file in [cut, cut + bytes(len(data) - len(cut))] if 'JPEG' in name else [cut]:
        with pytest.raises(NotAnImage, match='a damaged file: .*missing'): load_image(file, 64)

def test_a_progressive_jpeg_is_refused_where_it_would_be_blurred():
    data = whole['progressive JPEG']
    with pytest.raises(NotAnImage, match='blurred'): load_image(data[:len(data)//2])

others = [(f, {}) for f in ('PNG', 'GIF', 'WEBP', 'TIFF', 'PPM', 'AVIF')] + [('TIFF', dict(compression='tiff_lzw'))]

@pytest.mark.parametrize('format, how', others)
def test_half_a_file_of_any_format_is_refused(format, how):
    try: data = as_bytes(rough, format, **how)
    except (OSError, KeyError): pytest.skip(f'this Pillow writes no {format}')
    with pytest.raises(NotAnImage, match='damaged file'): load_image(data[:len(data)//2])

def test_a_first_image_that_is_whole():
    "The second one of a pair is cut, and a black one is no missing one"
    pair = as_bytes(rough, 'MPO', save_all=True, append_images=[rough])
    assert same(pair[:int(.7*len(pair))], as_bytes(rough, 'MPO', save_all=True, append_images=[rough]))
    with pytest.raises(NotAnImage, match='missing'): load_image(pair[:int(.3*len(pair))])
    moving = as_bytes(rough, 'GIF', save_all=True, append_images=[rough.rotate(90)])
    assert same(moving[:-20], moving)
    assert not square(as_bytes(Image.new('RGB', (64, 64)), 'PNG')).any()

def test_a_photo_with_a_lower_half_of_grey():
    "It is whole: nothing is said about it"
    got = looked_at(as_bytes(halves('red', (128, 128, 128), size=200)), Wanted('squish', 64))
    assert got.note is None and abs(np.asarray(got.image)[40:].astype(int) - 128).max() < 4

# large images

def large_jpeg(w, h, **how): return as_bytes(Image.new('RGB', (w, h), (200, 30, 30)), quality=60, **how)

def test_108_megapixels_of_a_telephone():
    "As JPEG and as the pair of images that telephones write; decoded at an eighth"
    data = large_jpeg(12_000, 9000)
    assert upright_size(data) == (12_000, 9000) and abs(square(data) - (200, 30, 30)).max() < 4
    pair = as_bytes(Image.new('RGB', (12_000, 9000), (200, 30, 30)), 'MPO', save_all=True, append_images=[Image.new('RGB', (8, 8))])
    assert looked_at(pair).format == 'MPO' and abs(square(pair) - (200, 30, 30)).max() < 4
    for d in (data, pair):
        asked = []
        decode(d, Wanted('squish', 224), asked.append)
        assert asked[0] < 10_000_000 # bytes

@pytest.mark.parametrize('how, most', [({}, .01), (dict(progressive=True), 6.1), (dict(progressive=True, subsampling=0), 6.1)])
def test_the_memory_of_a_jpeg_is_known_before(how, most):
    "A decoder of a progressive one keeps all frequencies"
    asked = []
    decode(as_bytes(Image.new('RGB', (4000, 3000)), **how), Wanted('squish', 64), asked.append)
    assert (most - 1)*12e6 < asked[0] <= 7*12e6 if how else asked[0] < 4e6

def test_what_needs_more_than_the_memory_is_named_with_a_way_out(monkeypatch):
    for data, said in ((png_header(12_000, 12_000), '144 megapixels take 720 MB'), (png_header(30_000, 30_000), 'bomb'),
                       (png_header(12_000, 12_000), 'QUICKCLS_IMAGE_MEMORY=720 allows more')):
        with pytest.raises(NotAnImage, match=said): looked_at(data)
    monkeypatch.setenv('QUICKCLS_IMAGE_MEMORY', '720')
    assert image_memory() == 720_000_000 == pool.Workers().budget
    monkeypatch.setitem(pool._pools, os.getpid(), mine := pool.Workers())
    try: assert looked_at(png_header(12_000, 12_000)).width == 12_000
    finally: mine.stop()
    monkeypatch.setenv('QUICKCLS_IMAGE_MEMORY', 'much')
    with pytest.raises(QuickclsError, match="'much'. Expected a number of MB"): image_memory()

def test_a_baseline_jpeg_of_several_scans_counts_as_progressive():
    "Its decoder keeps all frequencies too, whatever the frame says"
    from quickcls.data.decoding import frame_to_draft
    from quickcls.data.formats import baseline, progressive
    data = as_bytes(image(1, 640, 480))
    at = data.index(b'\xff\xda')
    one_of_three = data[:at] + b'\xff\xda\0\x08\1\1\0\0\x3f\0' + data[at+14:]
    assert frame_to_draft(open_image(data), data) == baseline and frame_to_draft(open_image(one_of_three), one_of_three) == progressive
    im = open_image(one_of_three)
    assert memory_needed(im, 640*480, progressive) > 6*640*480

# turned

def turned(n, format, im, **how):
    "A file whose pixels are turned, with the orientation that turns them back"
    im = im if stored[n] is None else im.transpose(stored[n])
    exif = with_orientation(n)
    return as_bytes(im, format, exif=exif.tobytes() if format == 'HEIF' else exif, **how)

kinds = [('JPEG', dict(quality=95)), ('PNG', {}), ('WEBP', dict(quality=95)), ('TIFF', {}), ('TIFF', dict(compression='tiff_lzw')),
         ('MPO', dict(quality=95)), ('AVIF', dict(quality=95))]

@pytest.mark.parametrize('format, how', kinds)
def test_every_orientation_of_every_format(format, how):
    "Once and not twice: bytes, PIL images that were not decoded yet, small copies, sizes"
    im = image(7, 60, 40)
    for n in stored:
        try: data = turned(n, format, im, **how)
        except (OSError, KeyError): pytest.skip(f'this Pillow writes no {format}')
        for source in (data, Image.open(io.BytesIO(data))):
            assert upright_size(source) == (60, 40) == small_image(source, 99).size, n
            assert abs(square(source) - square(im)).mean() < 4, n

@pytest.fixture(scope='module')
def clf():
    from quickcls.all import Classifier
    return Classifier.load(repo/'tests'/'fixtures'/'saved_classifiers'/'net')

@pytest.mark.parametrize('n', [3, 6])
def test_answers_and_places_about_a_turned_tiff(clf, n):
    "Those about the upright image: boxes and maps lie within what people see"
    im = Image.open(repo/'datasets'/'parts'/'defect'/'001.jpg').convert('RGB').resize((200, 90))
    data, upright = turned(n, 'TIFF', im), as_bytes(im, 'TIFF')
    assert clf.predict(data).top == clf.predict(upright).top
    heat, want = clf.explain(data), clf.explain(upright)
    assert (heat.width, heat.height, heat.photo.size) == (200, 90, (200, 90)) and heat.peak == want.peak
    assert np.array_equal(heat.cells, want.cells)
    tags, want = clf.tag(data, sure=0), clf.tag(upright, sure=0)
    assert (tags.width, tags.height) == (200, 90) and tags.found == want.found
    assert all(0 <= f['box'][0] < f['box'][2] <= 200 and 0 <= f['box'][1] < f['box'][3] <= 90 for f in tags.found)

# HEIC, HEIF, AVIF

def brands(major, *others): return struct.pack('>I', 16 + 4*len(others)) + b'ftyp' + major + b'\0\0\0\0' + b''.join(others)

@pytest.mark.parametrize('start, library', [
    (brands(b'heic'), 'pillow-heif'), (brands(b'heix', b'mif1'), 'pillow-heif'), (brands(b'mif1', b'mif1', b'heic'), 'pillow-heif'),
    (brands(b'msf1', b'hevc'), 'pillow-heif'), (brands(b'avif'), '"pillow>=11.3"'), (brands(b'mif1', b'avif', b'miaf'), '"pillow>=11.3"'),
    (brands(b'avis'), '"pillow>=11.3"')])
def test_photos_of_telephones_are_named_with_what_reads_them(monkeypatch, start, library):
    from quickcls.data import formats
    monkeypatch.setattr(formats, 'known_formats', lambda: ['JPEG'])
    assert f'to read those: pip install {library}, or save it as JPEG' in reason_not_an_image(start)
    monkeypatch.setattr(formats, 'known_formats', lambda: ['HEIF', 'AVIF'])
    assert reason_not_an_image(start).startswith('a damaged file: it begins like a')

@pytest.mark.parametrize('brand', ['heic', 'heix', 'heim', 'heis', 'hevc', 'hevx', 'hevm', 'hevs', 'heif', 'mif1', 'msf1'])
def test_all_brands_of_heic_are_known(brand, monkeypatch):
    from quickcls.data import formats
    monkeypatch.setattr(formats, 'known_formats', lambda: ['JPEG'])
    assert 'HEIC' in reason_not_an_image(brands(brand.encode()))

@pytest.mark.parametrize('start, what', [
    (b'\xff\x0a\xff', 'JPEG XL'), (b'\0\0\0\x0cJXL \r\n\x87\n', 'JPEG XL'), (b'%PDF-1.7', 'PDF'), (b'II*\0\x10\0\0\0CR\2\0', 'raw photo'),
    (brands(b'crx '), 'raw photo'), (b'FUJIFILMCCD-RAW 0201', 'raw photo'), (brands(b'mp42', b'isom'), 'a video'),
    (brands(b'qt  '), 'a video'),
    (brands(b'3gp5'), 'a video'), (b'\x1a\x45\xdf\xa3\x01', 'a video'), (b'RIFF\0\0\0\0AVI LIST', 'a video'), (b'PK\3\4\x14', 'an archive'),
    (bytes(128) + b'DICM', 'DICOM'), (b'8BPS\0\1', 'Photoshop'), (b'ID3\3\0', 'a sound file')])
def test_what_is_no_photo_is_named_as_what_it_is(start, what):
    assert what in reason_not_an_image(start)
    with pytest.raises(NotAnImage, match=what): open_image(start + bytes(600))

def raw_in_tiff(**tags):
    "A TIFF with the tags of a raw photo, and a small preview as its image"
    from PIL import TiffImagePlugin
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.values(): ifd[tag] = value
    image(1, 40, 30).save(out := io.BytesIO(), 'TIFF', tiffinfo=ifd)
    return out.getvalue()

def test_the_preview_in_a_raw_photo_is_not_taken_for_the_photo():
    "DNG, and NEF or ARW, which are TIFFs too; a TIFF of several sizes is read"
    with pytest.raises(NotAnImage, match='raw photo'): open_image(raw_in_tiff(version=(50706, b'\1\4\0\0')))
    with pytest.raises(NotAnImage, match='raw photo'): open_image(raw_in_tiff(kind=(254, 1), below=(330, 8)))
    assert open_image(raw_in_tiff(kind=(254, 0), below=(330, 8))).size == (40, 30)

def test_a_film_is_no_photo(): assert 'HEIC' not in reason_not_an_image(brands(b'isom', b'mp42'))

def test_a_broken_file_of_a_known_format_is_named_as_such():
    for start, name in ((b'II*\0nothing here', 'TIFF'), (b'GIF89a', 'GIF')):
        with pytest.raises(NotAnImage, match=f'damaged file: it begins like a {name}'): open_image(start)
    with pytest.raises(NotAnImage, match='damaged file'): open_image(b'\xff\xd8\xff\xe0 nothing')

@pytest.mark.skipif(not find_spec('pillow_heif'), reason='no pillow-heif')
def test_heic_is_read_upright():
    import pillow_heif
    pillow_heif.register_heif_opener()
    im = image(7, 60, 40)
    for n in stored:
        data = turned(n, 'HEIF', im, quality=95)
        assert looked_at(data).format == 'HEIF' and upright_size(data) == (60, 40) and abs(square(data) - square(im)).mean() < 4, n
    with pytest.raises(NotAnImage, match='damaged file'): load_image(data[:len(data)//2])
    with pytest.raises(NotAnImage, match='damaged file: it begins like a HEIC photo'): load_image(brands(b'heic'))

@pytest.mark.skipif(not find_spec('pillow_heif'), reason='no pillow-heif')
def test_the_library_for_heic_is_loaded_only_for_heic(python):
    code = (
        'import sys, io; from PIL import Image; from quickcls.data.formats import open_image, known_formats; f = io.BytesIO(); '
        'Image.new("RGB", (9, 9)).save(f, "PNG"); open_image(f.getvalue()); print("HEIF" in known_formats(), "pillow_heif" in sys.modules)'
    )
    assert python(code).split() == ['True', 'False']

def test_a_scan_says_which_files_are_damaged_and_used(tmp_path):
    for label in 'ab':
        (tmp_path/label).mkdir()
        for i in range(2): Image.effect_noise((90, 60), 60 + i).convert('RGB').save(tmp_path/label/f'{i}.jpg')
    whole = (tmp_path/'a/0.jpg').read_bytes()
    (tmp_path/'a/cut.jpg').write_bytes(whole[:-2])
    items = scan_folder(tmp_path)
    assert len(items) == 5 and not items.skipped and any('1 image' in n and 'cut.jpg' in n for n in items.notes)
