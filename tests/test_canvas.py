"""Pictures of any size: windows that agree, seeds, sizes, completion, variations, the way between two."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from caselli.canvas import Canvas, Redrawing, interpolate, plan, variations
from caselli.canvas.editing import redrawn
from caselli.canvas.windows import window_seed
from caselli.cli import main
from caselli.cli.drawing import size_of
from caselli.errors import UserError
from caselli.model import Model, build_prior, save_prior, save_tokenizer
from caselli.prior import PRIORS, Conditions, PriorConfig
from caselli.report.strips import save_strips
from caselli.sampling import EagerEngine, Sampling, sample
from caselli.tokenizer import Tokenizer, TokenizerConfig
from tests.reference.seams import seam_ratio


def model(order="raster", classes=3, quantizer="vq", options=None, prior=None, size=16):
    """Untrained, the prior away from the uniform start; windows of 4 × 4 codes."""
    torch.manual_seed(0)
    options = {"codebook_size": 8} if options is None else options
    tokenizer = Tokenizer(
        TokenizerConfig(factor=4, width=8, channels=1, quantizer=quantizer, quantizer_options=options)
    )
    config = PriorConfig(width=16, depth=1, order=order, **(prior or {}))
    built, order = build_prior(config, tokenizer.eval(), size, classes)
    with torch.no_grad():
        built.head.weight.mul_(40)
        built.position.weight.mul_(10)
    return Model(tokenizer, built, order, size, ["a", "b", "c"][:classes])


@pytest.fixture(scope="module")
def plain():
    return model()


@pytest.fixture(scope="module")
def run_folder(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_tokenizer(plain.tokenizer, folder, plain.size)
    save_prior(plain.prior, folder, plain.tokenizer.fingerprint(), plain.classes)
    return folder


# the plan ---------------------------------------------------------------------------------------------------

SHAPES = [
    ((9, 11), (4, 4), (1, 2)),
    ((4, 4), (4, 4), (1, 1)),
    ((7, 5), (4, 5), (2, 2)),
    ((12, 12), (4, 4), (3, 3)),
]


@pytest.mark.parametrize(("canvas", "window", "block"), SHAPES)
@pytest.mark.parametrize("centred", [False, True])
def test_blocks_cover_the_canvas_once_and_lie_in_their_windows(canvas, window, block, centred):
    seen = torch.zeros(canvas, dtype=torch.int64)
    for wave in plan(canvas, window, block, centred):
        for one in wave:
            seen[one.rows, one.columns] += 1
            view = torch.arange(canvas[0] * canvas[1]).view(canvas)[one.window]
            assert view.shape == window
            inside = view[one.inside]
            assert torch.equal(
                inside, torch.arange(canvas[0] * canvas[1]).view(canvas)[one.rows, one.columns]
            )
    assert (seen == 1).all()


@pytest.mark.parametrize(("canvas", "window", "block"), SHAPES)
def test_a_wave_sees_what_came_before_it_row_by_row(canvas, window, block):
    """All that a block's window holds of earlier blocks is drawn in earlier waves, and no later block is."""
    waves = plan(canvas, window, block)
    place = {(b.rows.start, b.columns.start): n for n, wave in enumerate(waves) for b in wave}
    drawn_in = torch.zeros(canvas, dtype=torch.int64)
    for n, wave in enumerate(waves):
        for one in wave:
            drawn_in[one.rows, one.columns] = n
    turn = torch.arange(canvas[0] * canvas[1]).view(canvas)
    for (top, left), n in place.items():
        one = next(b for b in waves[n] if (b.rows.start, b.columns.start) == (top, left))
        before = torch.zeros(canvas, dtype=torch.bool)
        for other_top, other_left in place:
            if (other_top, other_left) < (top, left):
                before[other_top : other_top + block[0], other_left : other_left + block[1]] = True
        held, earlier = before[one.window], drawn_in[one.window] < n
        assert torch.equal(held, held & earlier)
        later = ~before[one.window] & earlier
        assert not later.any(), turn[one.window][later]


def definition(canvas, count, seed):
    """One code after the other, each in a window of its own, by the noise of its place: stride 1."""
    model, (rows, columns) = canvas.model, canvas.window
    codes = torch.full((count, *canvas.cells), -1)
    for picture in range(count):
        for row in range(canvas.cells[0]):
            for column in range(canvas.cells[1]):
                top = min(max(0, row + 1 - rows), canvas.cells[0] - rows)
                left = min(max(0, (2 * column + 1 - columns) // 2), canvas.cells[1] - columns)
                window = codes[picture, top : top + rows, left : left + columns]
                known = model.order.flatten(window[None], model.grid)
                seeds = [window_seed(seed + picture, row, column)]
                drawn = sample(EagerEngine(model.prior), None, seeds, known=known)
                codes[picture, row, column] = model.order.restore(drawn, model.grid)[
                    0, row - top, column - left
                ]
    return codes


def test_codes_are_those_of_the_definition(plain):
    canvas = Canvas(plain, (20, 24), stride=1, engine=EagerEngine(plain.prior))
    assert torch.equal(canvas.codes(2, seed=5), definition(canvas, 2, 5))


@pytest.mark.parametrize("stride", [1, 3])
def test_the_same_seed_gives_the_same_picture_whatever_the_batch(plain, stride):
    def codes(count, seed, batch):
        return Canvas(plain, (28, 24), stride, batch=batch, engine=EagerEngine(plain.prior)).codes(
            count, seed=seed
        )

    several = codes(3, 4, 32)
    assert torch.equal(codes(1, 6, 1), several[2:]) and torch.equal(codes(3, 4, 5), several)
    assert not torch.equal(several[0], several[1])
    assert several.min() >= 0 and several.max() < 8


def test_the_codes_follow_the_prior(plain):
    """A prior of greatest certainty: every window, drawn anew at temperature 0, gives its block again."""
    canvas = Canvas(
        plain, (36, 44), stride=2, options=Sampling(temperature=0), engine=EagerEngine(plain.prior)
    )
    codes = canvas.codes(1)
    for wave in plan(canvas.cells, canvas.window, (1, 2)):
        for block in wave:
            window = codes[(0, *block.window)].clone()
            window[block.inside] = -1
            window.view(-1)[(block.inside[0].start * 4 + block.inside[1].stop) :] = -1
            known = plain.order.flatten(window[None], plain.grid)
            drawn = sample(EagerEngine(plain.prior), None, [0], Sampling(temperature=0), known=known)
            again = plain.order.restore(drawn, plain.grid)[0][block.inside]
            assert torch.equal(again, codes[0, block.rows, block.columns])


@pytest.mark.parametrize("size", [(16, 16), (50, 33), (7, 70), (1, 1), (17, 16)])
def test_any_size(plain, size):
    counted = []
    canvas = Canvas(plain, size, progress=counted.append)
    pictures = canvas.sample(2, seed=1)
    assert pictures.shape == (2, 1, *size) and pictures.abs().max() <= 1
    assert sum(counted) == 2 * canvas.length and canvas.length >= plain.grid.length


def told_small():
    """A model that is told of pictures half as large; what they have decides."""
    made = model(prior={"condition_picture": "low_resolution"})
    with torch.no_grad():
        made.prior.conditioner.beside.weight.mul_(100)
    return made


def test_upscaling_any_size():
    made, small = told_small(), torch.rand(2, 1, 10, 14) * 2 - 1
    canvas = Canvas(made, (20, 28), options=Sampling(temperature=0))
    large = canvas.upscale(small, seed=1)
    assert large.shape == (2, 1, 20, 28)
    # pictures smaller than a window, and a window's own size by the model itself
    assert Canvas(made, (6, 8)).upscale(small[..., :3, :4]).shape == (2, 1, 6, 8)
    one = small[:, :, :8, :8]
    whole = Canvas(made, (16, 16), stride=4, options=Sampling(temperature=0))
    codes = made.conditions(2, picture=one).codes
    assert torch.equal(whole.small_codes(one).flatten(1), codes)
    alone = made.sample(2, picture=one, options=Sampling(temperature=0))
    torch.testing.assert_close(whole.upscale(one), alone, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"\(20, 28\), the canvas's"):
        canvas.upscale(one)


def test_every_window_is_told_what_lies_in_it():
    """At a temperature of 0 a change of the small picture in one corner changes nothing far from it."""
    made, small = told_small(), torch.rand(1, 1, 32, 8) * 2 - 1
    canvas = Canvas(made, (64, 16), options=Sampling(temperature=0))
    other = small.clone()
    other[:, :, 24:] *= -1
    codes = [canvas.codes(1, Conditions(codes=canvas.small_codes(x)))[0] for x in (small, other)]
    assert torch.equal(codes[0][:8], codes[1][:8]) and not torch.equal(codes[0][12:], codes[1][12:])


def test_smaller_is_the_middle_of_a_whole_one(plain):
    whole, part = Canvas(plain, (16, 16)).sample(1, seed=3), Canvas(plain, (6, 8)).sample(1, seed=3)
    assert torch.equal(part, whole[:, :, 5:11, 4:12])


@pytest.mark.parametrize("order", ["raster", "serpentine", "hilbert"])
def test_orders(order):
    codes = Canvas(model(order), (24, 32), stride=2).codes(1)
    assert codes.shape == (1, 6, 8) and codes.min() >= 0


def test_several_codebooks():
    made = model(quantizer="residual", options={"stages": 2, "options": {"codebook_size": 8}})
    canvas = Canvas(made, (24, 32))
    codes = canvas.codes(2)
    assert codes.shape == (2, 2, 6, 8) and codes.min() >= 0
    assert canvas.sample(1).shape == (1, 1, 24, 32)


def test_labels_and_guidance_reach_every_window(plain):
    def codes(label, **options):
        how = Sampling(**options)
        return Canvas(plain, (32, 32), options=how).codes(1, plain.conditions(1, label), seed=2)

    assert not torch.equal(codes("a"), codes("b"))
    assert not torch.equal(codes("a"), codes("a", guidance=5.0))
    with pytest.raises(UserError, match="without a label"):
        codes(None, guidance=5.0)


def test_a_prior_that_sees_both_ways_draws_squares():
    made = model(prior={"kind": "masked"})
    counted = []
    canvas = Canvas(made, (32, 40), progress=counted.append)
    codes = canvas.codes(1)
    assert codes.min() >= 0 and sum(counted) == canvas.length
    picture, keep = torch.rand(1, 1, 32, 40) * 2 - 1, torch.zeros(32, 40, dtype=torch.bool)
    keep[8:24, 12:28] = True
    assert canvas.complete(picture, keep).shape == picture.shape


@pytest.mark.parametrize("kind", sorted(set(PRIORS) - {"next_scale"}))  # its codes have no places
def test_every_kind_of_prior_fills_a_canvas(kind):
    made = model(prior={"kind": kind})
    picture, keep = torch.rand(1, 1, 24, 28) * 2 - 1, torch.zeros(24, 28, dtype=torch.bool)
    keep[:12, :12] = True
    canvas = Canvas(made, (24, 28))
    assert canvas.complete(picture, keep).shape == picture.shape
    assert canvas.codes(1).min() >= 0
    assert variations(made, picture[..., :16, :16], 2).shape == (2, 1, 16, 16)


def test_a_prior_that_is_told_the_visible_part():
    made = model(prior={"condition_picture": "visible_part"})
    picture, keep = torch.rand(1, 1, 32, 40) * 2 - 1, torch.zeros(32, 40, dtype=torch.bool)
    keep[16:, 24:] = True
    canvas = Canvas(made, (32, 40))
    codes = canvas._filled(canvas._known(picture, keep), None, 0, centred=True)
    other = canvas._filled(canvas._known(-picture, keep), None, 0, centred=True)
    assert not torch.equal(codes[:, :4], other[:, :4])  # what is known below counts
    assert variations(made, picture[..., :16, :16], 2).shape == (2, 1, 16, 16)


@pytest.mark.slow
def test_a_larger_picture_takes_no_more_memory(run_folder, tmp_path):
    """Peak memory of the whole process, for 16 times as many pixels."""

    def peak(size):
        out = str(tmp_path / f"{size}.png")
        words = ["sample", str(run_folder), "--size", f"{size}x{size}", "-n", "1", "-o", out]
        code = (
            "import resource, sys; from caselli.cli import main; assert main(sys.argv[1:]) == 0;"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert peak(512) <= 1.2 * peak(128)


# completion -------------------------------------------------------------------------------------------------


def test_completion_keeps_what_is_known_and_sees_nothing_else(plain):
    canvas = Canvas(plain, (40, 36))
    picture, keep = torch.rand(2, 1, 40, 36) * 2 - 1, torch.zeros(40, 36, dtype=torch.bool)
    keep[5:29, 8:31] = True
    known = canvas._known(picture, keep)
    held = torch.zeros(10, 9, dtype=torch.bool)
    held[2:7, 2:7] = True
    assert torch.equal(known >= 0, held.expand(2, -1, -1))
    codes = canvas._filled(known.clone(), None, 0, centred=False)
    assert torch.equal(codes[:, held], known[:, held]) and codes.min() >= 0
    first = canvas.complete(picture, keep, seed=1)
    assert torch.equal(first, canvas.complete(torch.where(keep, picture, 0.3), keep, seed=1))
    assert not torch.equal(first, canvas.complete(picture, keep, seed=2))


def test_completion_of_a_trained_size_picture_encodes_it_as_it_is(plain):
    canvas = Canvas(plain, (32, 32))
    picture, keep = torch.zeros(1, 1, 32, 32), torch.zeros(32, 32, dtype=torch.bool)
    picture[..., :16, :16], keep[:16, :16] = torch.rand(1, 1, 16, 16) * 2 - 1, True
    assert torch.equal(canvas._known(picture, keep)[:, :4, :4], plain.encode(picture[..., :16, :16]))


def test_mistakes(plain):
    for size, stride, words in (
        ((0, 5), None, "one pixel"),
        ((32, 32), 5, "1 to 4"),
        ((32, 32), 0, "1 to 4"),
    ):
        with pytest.raises(UserError, match=words):
            Canvas(plain, size, stride)
    canvas = Canvas(plain, (32, 32))
    with pytest.raises(UserError, match="another picture"):
        canvas.sample(1, Conditions(codes=torch.zeros(1, 16, dtype=torch.int64)))
    with pytest.raises(UserError, match="at least 1"):
        canvas.sample(0)
    with pytest.raises(UserError, match="of both"):
        canvas.complete(torch.zeros(1, 1, 16, 16), torch.ones(16, 16, dtype=torch.bool))
    with pytest.raises(UserError, match="keeps nothing"):
        canvas.complete(torch.zeros(1, 1, 32, 32), torch.zeros(32, 32, dtype=torch.bool))
    with pytest.raises(UserError, match="no prior"):
        Canvas(Model(plain.tokenizer, None, plain.order, 16), (32, 32))
    for words in ("512", "axb", "0x5", "1x2x3"):
        with pytest.raises(UserError, match="512x256"):
            size_of(words)
    assert size_of("512x256") == (256, 512)


# variations and the way between two -------------------------------------------------------------------------


def codes_of(plain, pictures):
    """The codes whose decoded pictures these are, by search."""
    return plain.order.flatten(plain.encode(pictures), plain.grid)


def test_strength_of_variations(plain):
    picture = torch.rand(1, 1, 16, 16) * 2 - 1
    sequence = codes_of(plain, picture).repeat(64, 1)
    seeds = list(range(64))

    def changed(**how):
        return (redrawn(plain, sequence, Redrawing(**how), seeds) != sequence).float().mean()

    assert changed(strength=0.0) == 0
    shares = [changed(strength=s) for s in (0.1, 0.4, 0.8)]
    assert 0 < shares[0] < shares[1] < shares[2] <= 0.8
    reconstruction = plain.decode(plain.encode(picture))
    assert torch.equal(variations(plain, picture, 1, Redrawing(strength=0.0)), reconstruction)
    several = variations(plain, picture, 3, Redrawing(strength=0.6, seed=4))
    torch.testing.assert_close(variations(plain, picture, 1, Redrawing(strength=0.6, seed=5)), several[1:2])


def test_full_strength_is_a_sample(plain):
    """Nothing is kept, nothing is chosen by: exactly the prior's distribution, code by code."""
    sequence = torch.zeros(400, plain.grid.length, dtype=torch.int64)
    new = redrawn(plain, sequence, Redrawing(1.0, rounds=1, candidates=2), list(range(400)))
    drawn = sample(EagerEngine(plain.prior), None, list(range(400)))
    counts = [torch.stack([(x == k).float().mean(0) for k in range(8)]) for x in (new, drawn)]
    assert (counts[0] - counts[1]).abs().max() < 5 * (0.5 / 400) ** 0.5


def test_candidates_fit_what_is_kept(plain):
    """The kept codes are likelier behind a chosen candidate than behind the only one."""
    made = sample(EagerEngine(plain.prior), None, list(range(64)))

    def fit(candidates):
        how = Redrawing(0.3, rounds=1, candidates=candidates)
        new = redrawn(plain, made, how, list(range(64)))
        with torch.no_grad():
            return plain.prior.log_prob(new, None)[new == made].sum()

    assert fit(8) > fit(1)


def test_the_way_between_two(plain):
    ends = torch.rand(2, 1, 16, 16) * 2 - 1
    way = interpolate(plain, ends, 5)
    reconstructions = plain.decode(plain.encode(ends))
    torch.testing.assert_close(way[[0, -1]], reconstructions, atol=1e-6, rtol=0)
    smoothed = interpolate(plain, ends, 5, Redrawing(0.5))
    assert torch.equal(smoothed[[0, -1]], way[[0, -1]]) and not torch.equal(smoothed[1:-1], way[1:-1])
    assert torch.equal(interpolate(plain, ends, 5, Redrawing(0.0)), way)


def test_mistakes_in_editing(plain):
    picture = torch.zeros(1, 1, 16, 16)
    for how, words in (
        ({"strength": 1.5}, "0 to 1"),
        ({"rounds": 0}, "at least 1"),
        ({"candidates": 0}, "least 1"),
    ):
        with pytest.raises(UserError, match=words):
            Redrawing(**how)
    with pytest.raises(UserError, match="model's size"):
        variations(plain, torch.zeros(1, 1, 32, 32), 1)
    with pytest.raises(UserError, match="at least 1"):
        variations(plain, picture, 0)
    with pytest.raises(UserError, match="the ends"):
        interpolate(plain, picture.repeat(2, 1, 1, 1), 1)


# seams ------------------------------------------------------------------------------------------------------


def test_seams_of_noise_and_of_tiles():
    noise = torch.rand(4, 3, 64, 64)
    borders = range(16, 64, 16)
    assert abs(seam_ratio(noise, borders, borders) - 1) < 0.05
    tiles = noise + torch.rand(4, 3, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3) * 2
    assert seam_ratio(tiles, borders, borders) > 1.5
    assert abs(seam_ratio(tiles, [16, 48], [16, 48], period=16) - 1) < 0.2
    with pytest.raises(UserError, match="0 borders"):
        seam_ratio(noise, [], [])


# commands ---------------------------------------------------------------------------------------------------


def test_sample_size(run_folder, plain, tmp_path, capsys):
    words = ["sample", str(run_folder), "--size", "40x27", "--label", "b", "--seed", "3"]
    assert main([*words, "-n", "1", "-o", str(tmp_path / "one.png")]) == 0
    said = capsys.readouterr().err
    assert "tokens per second" in said and "blended" in said
    image = Image.open(tmp_path / "one.png")
    assert image.size == (40, 27) and image.text["label"] == "b" and image.text["seed"] == "3"
    expected = Canvas(plain, (27, 40)).sample(1, plain.conditions(1, "b"), seed=3)
    written = torch.from_numpy(np.array(image)).float() / 127.5 - 1
    torch.testing.assert_close(written, expected[0, 0], atol=0.01, rtol=0)
    assert main([*words, "-n", "3", "-o", str(tmp_path / "folder")]) == 0
    assert np.array_equal(np.array(image), np.array(Image.open(tmp_path / "folder" / "00000.png")))
    assert main([*words, "-n", "3", "--stride", "1", "-o", str(tmp_path / "grid.png")]) == 0
    assert main(["sample", str(run_folder), "--size", "40", "-o", str(tmp_path / "x.png")]) == 2
    assert "512x256" in capsys.readouterr().err


def test_complete_size(run_folder, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 24), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    words = ["complete", str(run_folder), str(tmp_path / "a.png"), "--size", "44x40", "--paste", "-n", "2"]
    assert main([*words, "--at", "8,12", "-o", str(tmp_path / "c.png")]) == 0
    made = np.array(Image.open(tmp_path / "c.png"))
    assert made.shape == (40 + 12, 3 * 44 + 4 * 6)
    for column in range(3):
        left = 6 + column * (44 + 6) + 8
        assert np.array_equal(made[6 + 12 : 6 + 32, left : left + 24], pixels)
    for more, said in (
        (["--at", "30,0"], "within 44×40"),
        (["--at", "1"], "64,0"),
        (["--keep", "upper"], "whole"),
    ):
        assert main([*words, *more, "-o", str(tmp_path / "x.png")]) == 2
        assert said in capsys.readouterr().err


def test_variations_and_interpolate(run_folder, tmp_path, capsys):
    for n in range(2):
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (16, 16), np.uint8)).save(
            tmp_path / f"{n}.png"
        )
    a, b = str(tmp_path / "0.png"), str(tmp_path / "1.png")
    out = ["-n", "3", "-o"]
    assert main(["variations", str(run_folder), a, *out, str(tmp_path / "v.png"), "--strength", "0.4"]) == 0
    assert main(["interpolate", str(run_folder), a, b, *out, str(tmp_path / "i.png"), "--smooth", "0.2"]) == 0
    assert Image.open(tmp_path / "v.png").text["strength"] == "0.4"
    assert Image.open(tmp_path / "i.png").size[0] > 3 * 16
    assert main(["variations", str(run_folder), a, *out, str(tmp_path / "w.png"), "--strength", "2"]) == 2
    assert "at most 1 was expected" in capsys.readouterr().err
    assert main(["interpolate", str(run_folder), a, "absent.png", *out, str(tmp_path / "j.png")]) == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_strips_are_written_as_a_whole_picture(tmp_path, channels):
    picture = torch.rand(channels, 50, 31) * 2 - 1
    save_strips(picture.split(13, 1), (50, 31), tmp_path / "a.png", {"label": "ü"})
    image = Image.open(tmp_path / "a.png")
    assert image.text == {"label": "ü"}
    values = torch.from_numpy(np.array(image)).view(50, 31, channels).movedim(-1, 0)
    assert torch.equal(values, ((picture + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
