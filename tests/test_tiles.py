"""Tiles: what a network sees, and that nothing shows where tiles meet."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from caselli.errors import UserError
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS
from caselli.tokenizer import Tokenizer, TokenizerConfig
from caselli.tokenizer.dvae import Bottleneck
from caselli.tokenizer.tiles import Reach, Tiles, blended, exact, reach
from tests.conformance.cases_tokenizer import LEARNED

LOCAL = {"architecture": "dvae", "width": 8, "latent_width": 4, "quantizer_options": {"codebook_size": 16}}


def tokenizer(**changes):
    torch.manual_seed(0)
    made = Tokenizer(TokenizerConfig(**{**LOCAL, **changes})).eval()
    for block in made.modules():
        if isinstance(block, Bottleneck):
            block.gain = 4.0  # untrained, and not shy: what is far away counts
    return made


@torch.no_grad()
def opened(made):
    """All weights positive: no rectifier stops anything, and nothing cancels."""
    for parameter in [*made.encoder.parameters(), *made.decoder.parameters()]:
        parameter.abs_().div_(parameter[0].numel() ** 0.5)
    return made


def gradient_reach(network, channels, taken, given, side):
    """The definition: the cells of the output that have a gradient at the middle cell of the input."""
    torch.manual_seed(0)
    x = torch.rand(1, channels, taken, (2 * side + 1) * taken, dtype=torch.float64, requires_grad=True)
    y = network(x)
    seen = []
    for cell in range(2 * side + 1):
        weights = torch.rand_like(y[..., cell * given : (cell + 1) * given])
        (slope,) = torch.autograd.grad(
            (y[..., cell * given : (cell + 1) * given] * weights).sum(), x, retain_graph=True
        )
        if slope[..., side * taken : (side + 1) * taken].any():
            seen.append(cell)
    return Reach(seen[-1] - side, side - seen[0])


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("blocks", [1, 2])
def test_reach_is_the_gradients_support(factor, blocks):
    made = opened(tokenizer(factor=factor, blocks=blocks, patch=1).double())
    assert reach(made.decoder, 4, 1, factor) == gradient_reach(made.decoder, 4, 1, factor, 14)
    # of the numbers that a maximum looks at, one alone has a gradient
    seen = reach(made.encoder, 3, factor, 1)
    supported = gradient_reach(made.encoder, 3, factor, 1, 14)
    assert seen.before >= supported.before and seen.behind >= supported.behind


@torch.no_grad()
def probed_reach(network, channels, taken, given, side=16):
    """By arithmetic: NaN spreads to all that is computed from it, from one half of a strip into the other."""
    strip = torch.zeros(1, channels, 4 * taken, 2 * side * taken)
    found = []
    for flipped in (False, True):
        half = strip.clone()
        half[..., : side * taken] = torch.nan
        x = half.flip(-1) if flipped else half
        for probe, axis in ((x, 0), (x.mT, 1)):
            cells = network(probe).isnan()[0].any(0).any(axis).unflatten(0, (-1, given)).any(1)
            cells = cells.flip(0) if flipped else cells
            found.append(int(cells.nonzero().max()) + 1 - side)
    before, behind = max(found[:2]), max(found[2:])
    return None if max(before, behind) == side else Reach(before, behind)


@pytest.mark.parametrize("factor", [1, 4])
@pytest.mark.parametrize("changes", [{}, {"blocks": 2}, {"attention": (4,)}])
@pytest.mark.parametrize("architecture", [name for name in LEARNED if name not in ("vit", "titok")])
def test_reach_is_what_arithmetic_spreads(architecture, changes, factor):
    options = {"groups": 4} if architecture in ("vqgan", "magvit2", "maskgit") else {}
    patch = min(2, factor)
    made = tokenizer(
        architecture=architecture, architecture_options=options, factor=factor, patch=patch, **changes
    )
    for network, sizes in ((made.decoder, (4, 1, factor)), (made.encoder, (3, factor, 1))):
        assert reach(network, *sizes) == probed_reach(network, *sizes)


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_reach_of_upsamplers(name):
    network = UPSAMPLERS[name](4, scale=3).eval()
    # DySample looks where its input tells it to, which may be anywhere
    assert reach(network, 4, 1, 3) == (None if name == "dysample" else probed_reach(network, 4, 1, 3))


@pytest.mark.parametrize("name", DOWNSAMPLERS)
def test_reach_of_downsamplers(name):
    network = DOWNSAMPLERS[name](4).eval()
    assert reach(network, 4, 2, 1) == probed_reach(network, 4, 2, 1)


def test_reach_of_what_is_not_symmetric():
    assert reach(nn.Sequential(nn.ZeroPad2d((2, 0, 1, 1)), nn.Conv2d(1, 1, 3)), 1, 1, 1) == Reach(2, 1)
    far = nn.Conv2d(1, 1, 3, padding=20, dilation=20)
    assert reach(far, 1, 1, 1) == Reach(20, 20)


@pytest.mark.parametrize("changes", [{}, {"attention": (4,)}])
def test_the_default_networks_see_everything(changes):
    made = tokenizer(architecture="convolutional", factor=4, **changes)
    tiles = Tiles(made, (4, 4))
    assert tiles.decoding is None and tiles.encoding is None and "blended" in tiles.about()


@pytest.mark.parametrize("size", [(23, 9), (4, 31), (3, 2), (17, 17)])
@pytest.mark.parametrize("window", [(4, 4), (1, 5)])
def test_local_tiles_equal_the_whole(size, window):
    made = tokenizer(factor=4, patch=1)
    codes = torch.randint(16, (2, *size))
    tiles = Tiles(made, window)
    whole = made.decode(codes)
    torch.testing.assert_close(tiles.decode(codes), whole, atol=1e-5, rtol=0)
    assert whole.std() > 1e-3
    pictures = torch.rand(2, 3, 4 * size[0], 4 * size[1]) * 2 - 1
    latents = made.encoder(pictures)
    assert (tiles.encode(pictures) == made.quantizer.encode(latents)).float().mean() > 0.995  # ties


def test_too_small_a_margin_would_show():
    made = tokenizer(factor=4, patch=1)
    tiles, codes = Tiles(made, (4, 4)), torch.randint(16, (1, 20, 20))
    tiles.decoding = Reach(tiles.decoding.before // 2, tiles.decoding.behind // 2)
    assert (tiles.decode(codes) - made.decode(codes)).abs().max() > 1e-4


def test_several_codebooks():
    made = tokenizer(
        quantizer="residual", quantizer_options={"stages": 2, "options": {"codebook_size": 16}}, factor=4
    )
    codes = torch.randint(16, (1, 2, 18, 12))
    torch.testing.assert_close(Tiles(made, (4, 4)).decode(codes), made.decode(codes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", [(), (4,)])
def test_a_window_of_the_training_size_is_the_whole(attention):
    made = tokenizer(architecture="convolutional", factor=4, attention=attention)
    codes, pictures = torch.randint(16, (1, 5, 6)), torch.rand(1, 3, 20, 24) * 2 - 1
    tiles = Tiles(made, (5, 6))
    torch.testing.assert_close(tiles.decode(codes), made.decode(codes), atol=1e-6, rtol=0)
    assert torch.equal(tiles.encode(pictures), made.encode(pictures))


def test_blended_tiles_stay_between_their_own_values():
    made = tokenizer(architecture="convolutional", factor=2)
    codes = torch.randint(16, (1, 13, 9))
    picture = Tiles(made, (4, 4)).decode(codes)
    assert picture.shape == (1, 3, 26, 18) and picture.abs().max() <= 1 + 1e-6
    assert not torch.allclose(picture, made.decode(codes), atol=1e-3)  # the whole map's normalisation


@pytest.mark.parametrize(
    ("length", "tile", "unit"), [(64, 8, 8), (9, 8, 1), (7, 8, 2), (5, 1, 3), (11, 3, 2)]
)
def test_pieces_add_up_to_one(length, tile, unit):
    for pieces in (blended(length, tile, unit), exact(length, tile, Reach(2, 1), unit)):
        total = torch.zeros(length * unit)
        for piece in pieces:
            assert 0 <= piece.start < piece.stop <= length
            total[piece.start * unit : piece.stop * unit] += piece.weights
        torch.testing.assert_close(total, torch.ones_like(total))
    assert all(piece.stop - piece.start == min(tile, length) for piece in blended(length, tile, unit))


def test_strips_come_one_by_one():
    made = tokenizer(factor=4)
    strips = list(Tiles(made, (4, 4)).strips(torch.randint(16, (1, 40, 8))))
    assert len(strips) == 10 and sum(strip.shape[2] for strip in strips) == 160
    assert max(strip.shape[2] for strip in strips) < 80


def test_codes_on_one_axis_have_no_places():
    made = tokenizer(architecture="vit", factor=4, size=16, width=8, architecture_options={"tokens": 4})
    with pytest.raises(UserError, match="codes with places"):
        Tiles(made, (4, 4))


@torch.no_grad()
def test_codes_that_depend_on_their_place_are_chosen_over_the_whole():
    """A growing codebook counts its codes from the picture's beginning, not from a strip's."""
    options = {"codebook_size": 16, "kmeans_steps": 0}
    made = tokenizer(quantizer="growing", quantizer_options=options)
    tiles, x = Tiles(made, (4, 4)), torch.rand(1, 3, 40, 24) * 2 - 1
    assert torch.equal(tiles.encode(x), made.encode(x))
