"Colour profiles: what a file means by its numbers reaches the network as sRGB"
import io, struct
import numpy as np
import pytest
from PIL import Image, ImageCms
from quickcls.data.images import load_image, small_image
from tests.helpers import image

def profile(space, gamma, *, primaries=()):
    "A minimal ICC profile of version 2: `RGB ` with three primaries (XYZ, D50), or `GRAY`"
    def xyz(*v): return b'XYZ \0\0\0\0' + struct.pack('>3i', *(round(x*65536) for x in v))
    curve = b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma*256)) + b'\0\0'
    tags = {b'wtpt': xyz(.9642, 1, .8249)} | {n + b'XYZ': xyz(*p) for n, p in zip((b'r', b'g', b'b'), primaries)}
    tags |= {n + b'TRC': curve for n in ((b'r', b'g', b'b') if primaries else (b'k',))}
    at, table, body = 128 + 4 + 12*len(tags), b'', b''
    for name, data in tags.items():
        table += name + struct.pack('>2I', at + len(body), len(data))
        body += data
    head = struct.pack('>I4xI4s4s4s12x4s', at + len(body), 0x02200000, b'mntr', space, b'XYZ ', b'acsp')
    head = head.ljust(68, b'\0') + struct.pack('>3i', 63190, 65536, 54061)
    return head.ljust(128, b'\0') + struct.pack('>I', len(tags)) + table + body

adobe = profile(b'RGB ', 2.2, primaries=[(.60974, .31111, .01947), (.20528, .62567, .06087), (.14919, .06322, .74457)])
srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
linear_grey = profile(b'GRAY', 1.)

def file(im, format, icc, **options):
    im.save(out := io.BytesIO(), format, icc_profile=icc, **options)
    return out.getvalue()

def middle(data): return np.asarray(load_image(data, 64))[32, 32].astype(int)

@pytest.mark.parametrize('format, options', [
    ('JPEG', dict(quality=100, subsampling=0)), ('PNG', {}), ('WEBP', dict(lossless=True)), ('TIFF', {})])
def test_adobe_rgb_is_seen_as_it_was_meant(format, options):
    "A green that sRGB writes with less red; small copies for people too"
    im = Image.new('RGB', (80, 60), (110, 180, 90))
    plain, meant = middle(file(im, format, None, **options)), middle(file(im, format, adobe, **options))
    assert abs(plain - (110, 180, 90)).max() <= 2
    assert plain[0] - meant[0] > 25 and abs(meant[1] - plain[1]) < 6
    assert np.asarray(small_image(file(im, format, adobe, **options), 32))[5, 5, 0] < plain[0] - 25

def test_a_pil_image_keeps_its_profile():
    im = Image.open(io.BytesIO(file(Image.new('RGB', (80, 60), (110, 180, 90)), 'PNG', adobe)))
    assert middle(im)[0] < 85

def test_grey_with_a_profile():
    "Linear light is brighter as sRGB"
    im = Image.new('L', (50, 50), 60)
    assert middle(file(im, 'PNG', linear_grey))[0] > 120 and middle(file(im, 'PNG', None))[0] == 60

@pytest.mark.parametrize('icc', [srgb, b'', b'not a profile', adobe[:200], adobe[:36] + b'xxxx' + adobe[40:], linear_grey, bytes(5000)])
def test_what_changes_nothing(icc):
    "A profile that is sRGB under any name, damaged, or of another mode"
    im = image(3, 64, 64)
    assert np.array_equal(np.asarray(load_image(file(im, 'PNG', icc), 64)), np.asarray(load_image(file(im, 'PNG', None), 64)))

@pytest.mark.parametrize('mode', ['CMYK', 'P', 'RGBA', 'LA', '1', 'I;16'])
def test_other_modes_with_any_profile_are_read(mode):
    im = image(3, 64, 64).convert('L' if mode == 'I;16' else 'RGB').convert('I;16' if mode == 'I;16' else mode)
    for icc in (adobe, linear_grey): load_image(file(im, 'TIFF' if mode == 'CMYK' else 'PNG', icc), 64)

def test_a_profile_that_unpacks_to_more_than_a_megabyte_is_left_out():
    im = Image.new('RGB', (80, 60), (110, 180, 90))
    assert middle(file(im, 'PNG', adobe + bytes(3_000_000)))[0] == 110
