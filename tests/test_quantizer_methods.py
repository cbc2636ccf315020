"""Each method against its definition, and what only one of them has to keep."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from caselli.errors import UserError
from caselli.quantizer import BSQ, FSQ, IBQ, LFQ, QUANTIZERS, VQ, Grouped, Gumbel, MultiScale, build
from caselli.quantizer.base import rows
from caselli.quantizer.codebook import draw
from caselli.quantizer.entropy import bit_entropies
from caselli.quantizer.gradient import rotation
from caselli.quantizer.several import StageDropout
from tests.reference import quantizer as reference


def test_vector_quantization_is_its_definition():
    quantizer = VQ(3, codebook_size=7, kmeans_steps=0, restart_threshold=0, warmup=0, decay=0.9).double()
    vectors, counts = quantizer.codebook.vectors.clone(), quantizer.codebook.counts.clone()
    latents = torch.randn(4, 3, 5, dtype=torch.float64)
    codes = quantizer(latents).codes
    expected = [reference.nearest(z, vectors) for z in rows(latents)]
    assert codes.flatten().tolist() == expected
    moved, counted = reference.moving_averages(rows(latents), codes.flatten(), vectors, counts, 0.9, 1e-5)
    assert_close(quantizer.codebook.vectors, moved)
    assert_close(quantizer.codebook.counts, counted)


def test_the_decay_grows_to_its_value():
    """With a warm-up the first step forgets nearly all of the start."""
    slow, warm = (
        VQ(2, codebook_size=1, kmeans_steps=0, restart_threshold=0, decay=0.9, warmup=warmup)
        for warmup in (0, 4)
    )
    latents = torch.randn(1, 2, 1)
    for quantizer, kept in ((slow, 0.9), (warm, 1 / 4)):
        before = quantizer.codebook.sums.clone()
        quantizer(latents)
        assert_close(quantizer.codebook.sums, kept * before + (1 - kept) * latents[:, :, 0])
    for _ in range(30):
        warm(latents)
    before = warm.codebook.sums.clone()
    warm(latents)
    assert_close(warm.codebook.sums, 0.9 * before + 0.1 * latents[:, :, 0])


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_kmeans_finds_clusters(update):
    centres = 10 * torch.randn(16, 8)
    latents = (centres.repeat(64, 1) + 0.01 * torch.randn(1024, 8)).T[None]
    quantizer = VQ(8, codebook_size=64, update=update)
    error = (quantizer(latents).latents - latents).square().mean()
    assert error < 1e-3


def test_starts_from_fewer_latents_than_codes():
    quantizer = VQ(4, codebook_size=50)
    latents = torch.randn(1, 4, 3)
    quantized = quantizer(latents)
    assert bool(quantizer.codebook.started)
    assert_close(quantized.latents, latents, atol=0.1, rtol=0)
    assert len(torch.unique(quantizer.codebook.vectors, dim=0)) == 50


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dead_codes_come_back_where_the_latents_are(update):
    quantizer = VQ(4, codebook_size=32, kmeans_steps=0, update=update)
    quantizer.codebook.vectors.data += 100
    latents = torch.randn(64, 4, 4)
    for _ in range(60):
        metrics = quantizer(latents).metrics
    assert metrics["used"] > 0.9
    assert metrics["dead"] < 0.1
    assert quantizer.codebook.vectors.norm(dim=1).max() < 20


def test_without_restart_dead_codes_stay():
    quantizer = VQ(4, codebook_size=32, kmeans_steps=0, restart_threshold=0)
    quantizer.codebook.vectors[1:] += 100
    quantizer.codebook.sums.copy_(quantizer.codebook.vectors)
    for _ in range(10):
        used = quantizer(torch.randn(8, 4, 4)).metrics["used"]
    assert used == 1 / 32


def test_a_restart_resets_the_averages_together():
    quantizer = VQ(4, codebook_size=8, kmeans_steps=0)
    codebook = quantizer.codebook
    codebook.counts[3] = 0
    latents = torch.randn(16, 4)
    codebook.prepare(latents)
    assert (codebook.vectors[3] == latents).all(1).any()
    assert codebook.counts[3] > 0
    assert_close(codebook.sums[3] / codebook.counts[3], codebook.vectors[3])


def test_draws_without_repetition():
    latents = torch.arange(10.0)[:, None]
    assert len(torch.unique(draw(latents, 10))) == 10
    assert draw(latents, 4).shape == (4, 1)
    assert draw(latents, 40).shape == (10, 1)


def test_rotation_is_a_rotation():
    z, q = torch.randn(2, 6, 5, dtype=torch.float64)
    z.requires_grad_()
    output, weights = rotation(z, q), torch.randn(6, 5, dtype=torch.float64)
    assert torch.equal(output, q)
    (gradient,) = torch.autograd.grad((output * weights).sum(), z)
    for point, code, weight, found in zip(z.detach(), q, weights, gradient, strict=True):
        matrix = reference.rotated(point, code)
        assert_close(matrix @ point, code)
        assert_close(found, matrix.T @ weight)


def test_finite_scalar_quantization_is_its_definition():
    levels = (5, 4, 3)
    quantizer, latents = (
        FSQ(3, levels=levels, whitening=0).double(),
        2 * torch.randn(40, 3, dtype=torch.float64),
    )
    quantized = quantizer(latents)
    for z, out, code in zip(latents, quantized.latents, quantized.codes, strict=True):
        values, expected = reference.finite_scalar(z, levels)
        assert_close(out, torch.tensor(values, dtype=torch.float64))
        assert int(code) == expected


@pytest.mark.parametrize("magnitude", [1.0, 0.5])
@pytest.mark.parametrize("bits", [1, 2, 5])
def test_entropies_of_bits_are_those_of_all_codes(bits, magnitude):
    z = (0.3 * torch.randn(20, bits, dtype=torch.float64)).requires_grad_()
    theirs = reference.binary_entropies(z, magnitude, 0.7)
    ours = bit_entropies(torch.sigmoid(4 * magnitude * z / 0.7), 18, False)
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other)
        assert_close(*(torch.autograd.grad(value, z, retain_graph=True) for value in (one, other)))


def test_entropies_in_groups_add():
    p = torch.rand(30, 5)
    of_latents, of_mean = bit_entropies(p, 2, False)
    assert_close(of_latents, bit_entropies(p, 18, False)[0])
    assert_close(of_mean, sum(bit_entropies(part, 18, False)[1] for part in p.split(2, 1)))


@pytest.mark.parametrize("method", [LFQ, BSQ])
def test_a_quarter_of_a_million_codes_fit(method):
    """And every gradient is finite at the extremes."""
    quantizer = method(18, codebook_size=1 << 18)
    latents = (100 * torch.randn(8, 18, 16)).requires_grad_()
    quantized = quantizer(latents)
    quantized.loss.backward()
    assert torch.isfinite(latents.grad).all()
    assert quantized.codes.max() >= 1 << 16
    assert torch.equal(quantizer.eval()(latents).latents, quantizer.decode(quantized.codes))


def test_codes_of_many_bits():
    quantizer = BSQ(40, codebook_size=1 << 40)
    codes = quantizer(torch.randn(4, 40, 3)).codes
    assert codes.max() > 1 << 32
    assert torch.equal(quantizer.encode(quantizer.decode(codes)), codes)


def test_index_backpropagation_is_its_definition(monkeypatch):
    monkeypatch.setattr("caselli.quantizer.ibq.CHUNK", 20)
    quantizer = IBQ(3, codebook_size=6, entropy_weight=0, commitment=0, codebook_weight=0).double()
    latents = torch.randn(11, 3, dtype=torch.float64, requires_grad=True)
    weights, wanted = torch.randn(11, 3, dtype=torch.float64), [latents, quantizer.codebook]
    quantized, expected = quantizer(latents), reference.index_backpropagation(latents, quantizer.codebook)
    assert_close(quantized.latents, expected)
    assert_close(quantized.loss, (expected - latents).square().mean())
    for ours, theirs in (
        ((quantized.latents * weights).sum(), (expected * weights).sum()),
        (quantized.loss, (expected - latents).square().mean()),
    ):
        found = [torch.autograd.grad(value, wanted, retain_graph=True) for value in (ours, theirs)]
        for one, other in zip(*found, strict=True):
            assert_close(one, other)


def test_gumbel_draws_each_code_as_often_as_its_probability():
    quantizer = Gumbel(2, codebook_size=3, anneal_steps=0).double()
    latents = torch.tensor([[1.0, -0.5]], dtype=torch.float64).expand(20_000, 2)
    p = quantizer.logits(latents[0]).softmax(0)
    shares = quantizer(latents).codes.bincount(minlength=3) / 20_000
    assert (shares - p).abs().max() < 5 * (0.25 / 20_000) ** 0.5


def test_gumbel_is_annealed_by_training_steps_alone():
    quantizer = Gumbel(4, codebook_size=8, temperature=2.0, final_temperature=0.5, anneal_steps=2)
    seen = []
    for _ in range(4):
        seen.append(quantizer(torch.randn(3, 4)).metrics["temperature"])
        quantizer.eval()(torch.randn(3, 4))
        quantizer.train()
    assert_close(torch.stack(seen), torch.tensor([2.0, 1.0, 0.5, 0.5]))


def test_the_gaussian_term_is_a_divergence():
    quantizer = QUANTIZERS["gaussian"](3, kl_weight=1.0).double()
    latents = torch.randn(2, 3, 4, dtype=torch.float64)
    mean, log_variance = quantizer._moments(latents)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(normal, standard).sum(1).mean()
    assert_close(quantizer(latents).loss, expected)


def test_scales_add_up():
    """The more of the scales' codes are right, the nearer the picture: coarse ones first."""
    latents = torch.randn(16, 4, 4, 4)
    quantizer = MultiScale(
        4, options={"codebook_size": 64, "update": "gradient"}, scales=(1, 2, 4), refinement=0
    )
    for _ in range(20):
        quantized = quantizer(latents)
    codes = quantizer.eval().requires_grad_(False).encode(latents)
    assert codes.shape == (16, 21)
    other = codes.roll(1, 0)
    errors = []
    for start in (0, 1, 5, 21):
        mixed = torch.cat((codes[:, :start], other[:, start:]), 1)
        errors.append(float((quantizer.decode(mixed) - latents).square().mean()))
    assert errors[3] < errors[2] < errors[1]
    assert quantized.metrics["used"] > 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vq", {"codebook_size": 0}),
        ("vq", {"distance": "manhattan"}),
        ("vq", {"gradient": "reinforce"}),
        ("vq", {"update": "adam"}),
        ("vq", {"decay": 1.0}),
        ("vq", {"code_width": 0}),
        ("vq", {"size": 3}),
        ("vqq", {}),
        ("fsq", {"levels": ()}),
        ("fsq", {"levels": (5, 1)}),
        ("lfq", {"codebook_size": 1000}),
        ("lfq", {"scale": 0.0}),
        ("bsq", {"codebook_size": 1}),
        ("bsq", {"temperature": 0.0}),
        ("ibq", {"temperature": 0.0}),
        ("gumbel", {"temperature": 0.0}),
        ("simvq", {"gradient": "none"}),
        ("gaussian", {"code_width": 0}),
        ("residual", {"stages": 0}),
        ("residual", {"quantizer": "identity"}),
        ("residual", {"options": {"levels": (3,)}}),
        ("grouped", {"groups": 3}),
        ("multi_head", {"heads": 3}),
        ("multi_scale", {"scales": ()}),
        ("multi_scale", {"scales": ((1, 2, 3),)}),
    ],
)
def test_bad_arguments_are_named(name, options):
    with pytest.raises(UserError, match=r"was given|were given|asked for"):
        build(name, 8, options)


def test_an_unknown_option_lists_the_known():
    with pytest.raises(UserError, match="codebook_size, code_width"):
        build("vq", 8, {"codebook": 3})
    with pytest.raises(UserError, match="levels, whitening, symmetric"):
        Grouped(8, quantizer="fsq", options={"codebook_size": 3})


@pytest.mark.parametrize("name", ("residual", "multi_scale"))
def test_later_stages_are_left_out_for_a_share_of_the_training_samples(name, monkeypatch):
    torch.manual_seed(0)
    options = {"options": {"codebook_size": 16}, "stage_dropout": 0.5}
    options |= {"stages": 3} if name == "residual" else {"scales": (1, 2, 4)}
    quantizer = build(name, 8, options)
    z = torch.randn(400, 8, 4, 4)
    quantizer(z)  # codebooks have begun, and move no more
    for part in quantizer.modules():
        part.training = isinstance(part, (type(quantizer), StageDropout))
    found = quantizer(z).latents.detach()
    sums = []
    for count in (1, 2, 3):
        first = lambda stages, count=count: stages[:count]  # noqa: E731
        monkeypatch.setattr(quantizer.dropout, "forward", first)
        sums.append(quantizer(z).latents.detach())
    nearest = torch.stack([(found - one).abs().amax((1, 2, 3)) for one in sums]).min(0)
    assert nearest.values.max() < 1e-5
    counts = torch.bincount(nearest.indices, minlength=3)
    assert abs(counts[0] - 67) < 30 and abs(counts[1] - 67) < 30  # a third of half of 400 each
    assert quantizer.eval()(z).latents.isfinite().all()
    with pytest.raises(UserError, match="stage_dropout"):
        build(name, 8, options | {"stage_dropout": 2.0})


def test_multi_scale_wants_the_size_of_its_last_scale():
    with pytest.raises(UserError, match="last scale"):
        MultiScale(8, scales=(1, 2))(torch.zeros(1, 8, 3, 3))
    with pytest.raises(UserError, match="last axis"):
        MultiScale(8, scales=(1, 2)).decode(torch.zeros(1, 6, dtype=torch.int64))


LEARNT = {"codebook_size": 16, "distance": "cosine", "update": "gradient"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vq", {"codebook_size": 16, "entropy_weight": 0.1}),
        ("vq", {"codebook_size": 16, "entropy_weight": 0.1, "distance": "cosine"}),
        ("multi_scale", {"scales": [1, 2, 4], "options": LEARNT}),
    ],
)
def test_a_codebook_that_learns_in_the_forward_pass_has_a_backward_pass(name, options):
    """Vectors change in place, by averages or by restarts, while the graph still needs those before."""
    quantizer = build(name, 4, options).train()
    for _ in range(3):
        x = torch.randn(8, 4, 4, 4, requires_grad=True)
        y = quantizer(x)
        (y.latents.square().sum() + y.loss).backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("levels", [(1024,), (2048, 3), (5, 3001, 4)])
@pytest.mark.parametrize("published", [False, True])
def test_many_levels_stay_in_range(levels, published):
    quantizer = FSQ(len(levels), levels=levels, whitening=0, published=published)
    x = torch.cat((torch.full((1, len(levels), 1), -1e4), torch.full((1, len(levels), 1), 1e4)), 2)
    codes = quantizer.train()(x).codes
    assert codes.min() >= 0 and codes.max() < quantizer.sizes[0]
    if not published:  # whose outermost levels are out of reach
        assert codes.flatten().tolist() == [0, quantizer.sizes[0] - 1]
