"Random views: what each preset draws, what it never draws, and that views of one are not taken for those of another"
import numpy as np, pytest
from tests.helpers import MeanColour, tiny_graph, write_folder
from quickcls.core import QuickclsError
from quickcls.data.items import scan_folder
from quickcls.features.embed import embed_augmented
from quickcls.features.augment import parse_augment, presets, random_transforms, augmented_copy
from quickcls.features.store import Store

@pytest.mark.parametrize(
    'text,want',
    [
        (0, ('none', 0)),
        ('0', ('none', 0)),
        ('none', ('none', 0)),
        (4, ('fastai', 4)),
        ('12', ('fastai', 12)),
        ('guide', ('guide', 4)),
        ('guide:2', ('guide', 2)),
        ('fastai-noflip:100', ('fastai-noflip', 100)),
    ],
)
def test_one_word_says_preset_and_number(text, want): assert parse_augment(text) == want

@pytest.mark.parametrize(
    'text',
    ['gide', 'guide:0', 'guide:101', 'guide:', 'guide:two', 'none:3', '4:guide', '4:', -1, '1.5', '', None, True, '101', 'Guide', '²'],
)
def test_anything_else_is_refused_in_one_line(text):
    with pytest.raises(QuickclsError, match='Expected none, a number') as e: parse_augment(text)
    assert '\n' not in str(e.value)

def drawn(preset, n=3000):
    """The matrices that a preset draws: (linear part `[n, 2, 2]`, shift `[n, 2]`), from the places of the view to those
    of the image, a side being 2 long"""
    import torch
    from fastai.torch_core import TensorImage, no_random
    moves = random_transforms(preset)[0]
    with no_random(0): moves.before_call(TensorImage(torch.zeros(n, 3, 8, 8)), 0)
    m = np.asarray(moves.mat)
    return m[:, :, :2], m[:, :, 2]

def test_guide_draws_what_the_keras_guide_says():
    "Rotation 10 degrees, shifts 0.1 both ways, shear 0.1, zoom 0.2, half of the views mirrored; all that is allowed is used"
    m, shift = drawn('guide')
    mirrored = np.linalg.det(m) < 0
    assert .45 < mirrored.mean() < .55
    m[mirrored, :, 0] *= -1
    s = np.hypot(m[:, 0, 0], m[:, 1, 0])
    turn = np.arctan2(-m[:, 1, 0], m[:, 0, 0])
    back = np.stack([np.stack([np.cos(turn), -np.sin(turn)], 1), np.stack([np.sin(turn), np.cos(turn)], 1)], 1)
    shear = np.arctan2(-(back@m)[:, 0, 1], (back@m)[:, 1, 1])
    move = (back@shift[:, :, None])[:, :, 0]/2
    for values, low, high in ((np.degrees(turn), -10, 10), (1/s, .8, 1.2), (shear, -.1, .1), (move[:, 0], -.1, .1), (move[:, 1], -.1, .1)):
        assert low - 1e-5 <= values.min() < low + .02*(high - low) and high - .02*(high - low) < values.max() <= high + 1e-5

@pytest.mark.parametrize('preset', ['guide', 'fastai'])
def test_noflip_never_mirrors(preset):
    "Of an image that is dark on its left, every view is; with mirroring, half of them"
    import torch
    from fastai.torch_core import TensorImage, no_random
    ramp = torch.linspace(.2, .8, 32).expand(200, 3, 32, 32).clone()
    def right_is_bright(name):
        x = TensorImage(ramp.clone())
        with no_random(1):
            for t in random_transforms(name): x = t(x, split_idx=0)
        return (x[..., 24:].mean((1, 2, 3)) > x[..., :8].mean((1, 2, 3))).float().mean().item()
    assert right_is_bright(f'{preset}-noflip') == 1 and .35 < right_is_bright(preset) < .65

def test_presets_are_named_and_none_changes_nothing(tmp_path):
    "Each preset has transforms that travel in an exported Learner; `none` has none; images are interpolated once"
    import pickle
    for name in presets:
        ts = random_transforms(name)
        assert [type(t).__name__ for t in pickle.loads(pickle.dumps(ts))] == [type(t).__name__ for t in ts]
        assert sum(hasattr(t, 'aff_fs') for t in ts) == (name != 'none')
    with pytest.raises(QuickclsError, match='Expected one of none, guide'): random_transforms('keras')

def test_views_of_a_preset_are_its_own_and_stay(tmp_path):
    """Drawn in many threads at once, a view is the same as drawn alone; the store keeps presets apart; `fastai` keeps the
    name that its views were stored under"""
    items = scan_folder(write_folder(tmp_path/'f', a=8, b=8)).table
    store, graph = Store(tmp_path/'store.sqlite'), tiny_graph()
    x, done = embed_augmented(items, graph, 2, engine=MeanColour(), store=store, preset='guide')
    alone = [augmented_copy(r.path, r.sha256, graph.view, 42, i, 'guide').mean((0, 1))/255 for i in range(2) for r in items.itertuples()]
    assert done.embedded == 32 and np.allclose(x, alone, atol=1e-3)
    assert embed_augmented(items, graph, 2, engine=MeanColour(), store=store, preset='guide')[1].embedded == 0
    assert embed_augmented(items, graph, 1, engine=MeanColour(), store=store)[1].embedded == 16
    assert {r.split('|')[-2] for r in store.table().recipe} == {'guide:42:0', 'guide:42:1', 'aug_transforms:42:0'}
    store.close()

def test_train_takes_a_preset(tmp_path):
    "What was asked for is kept as text; a wrong word is refused before anything is computed (test_trust and test_cli train with a number)"
    import json
    from quickcls.train.pipeline import train
    folder, small = write_folder(tmp_path/'set', a=8, b=8), dict(arch='efficientnet_lite0@64', folds='0', quiet=True, offline=True)
    clf = train(folder, out=tmp_path/'m', augment='guide:1', **small)
    assert json.loads((clf.path/'metrics.json').read_text())['data']['augment'] == 'guide:1'
    with pytest.raises(QuickclsError, match='Unknown augmentation'): train(tmp_path/'nowhere', augment='gide')

def test_preview_shows_what_train_embeds(tmp_path, capsys):
    """The sheet's views are those of `augmented_copy` with the seed and number that training uses; it is written where it
    cannot be trained on"""
    from quickcls.backbones.registry import parse_views
    from quickcls.train.augment_preview import chosen_images, contact_sheet, preview
    from quickcls.data.split import split_items
    folder = write_folder(tmp_path/'set', a=6, b=6, c=6)
    fig = contact_sheet(folder, augment='guide:2', n=2, size=48)
    assert len(fig.axes) == 6 and 'guide: rotation up to 10°' in fig.get_suptitle() and '2 of 3 classes' in fig.get_suptitle()
    t = split_items(scan_folder(folder)).table
    row = chosen_images(t[t.split == 'train'], 2).iloc[0]
    assert (fig.axes[2].images[0].get_array() == augmented_copy(row.path, row.sha256, parse_views('resnet34', 48)[0], 42, 1, 'guide')).all()
    preview(folder, n=1, size=48, out=tmp_path/'sheet.png')
    assert (tmp_path/'sheet.png').stat().st_size and capsys.readouterr().out.strip() == str(tmp_path/'sheet.png')
    for bad in (dict(augment='none'), dict(out=folder/'a'/'sheet.png'), dict(out='sheet.txt'), dict(n=0)):
        with pytest.raises(QuickclsError, match='xpected|Name another'): preview(folder, **bad)
