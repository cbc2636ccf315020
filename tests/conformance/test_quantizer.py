"""The laws of every quantizer, run over the whole table."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from caselli.errors import UserError
from caselli.quantizer import QUANTIZERS, Quantized
from tests.conformance.cases_quantizer import CASES

every_case = pytest.mark.parametrize("case", CASES, ids=str)
coded = pytest.mark.parametrize("case", [case for case in CASES if case.integer], ids=str)


def trained(case, steps=2):
    """A quantizer that has seen some batches, still in training mode."""
    quantizer = case.build()
    for _ in range(steps):
        quantizer(case.latents())
    return quantizer


def with_commitment(case, weight, **others):
    torch.manual_seed(1)
    return QUANTIZERS[case.name](case.width, **case.options | {"commitment": weight} | others)


def gradients(quantizer, latents, result):
    """Of `result(quantized)`: by the latents, and by each parameter."""
    latents = latents.clone().requires_grad_()
    wanted = [latents, *quantizer.parameters()]
    return torch.autograd.grad(result(quantizer(latents)), wanted, allow_unused=True, materialize_grads=True)


def test_every_quantizer_of_the_table_is_under_test():
    assert {case.name for case in CASES} == set(QUANTIZERS)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_builds_from_the_width_alone(name):
    quantizer = QUANTIZERS[name](width=64)
    assert quantizer.width == 64
    assert all(size >= 2 for size in quantizer.sizes)


@every_case
@pytest.mark.parametrize("training", [True, False])
def test_the_record_is_always_the_same(case, training):
    quantizer = case.build().train(training)
    for space in case.spaces:
        latents = case.latents(2, space)
        quantized = quantizer(latents)
        assert isinstance(quantized, Quantized)
        assert quantized.latents.shape == latents.shape
        assert quantized.codes.shape == quantizer.encode(latents).shape
        assert quantized.codes.dtype == (torch.int64 if case.integer else torch.float32)
        assert quantized.loss.shape == ()
        assert torch.isfinite(quantized.latents).all()
        assert torch.isfinite(quantized.loss)
        for value in quantized.metrics.values():
            assert value.shape == () and not value.requires_grad and torch.isfinite(value)


@coded
def test_codes_have_the_shape_of_the_contract(case):
    quantizer = case.build()
    books = () if len(quantizer.sizes) == 1 else (len(quantizer.sizes),)
    for space in case.spaces:
        codes = quantizer.encode(case.latents(3, space))
        assert codes.shape == (3, *books, *quantizer.code_shape(space))
        if not case.flat:
            assert codes.shape == (3, *books, *space)


@every_case
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_decoding_the_codes_gives_the_evaluation_output(case, data):
    batch = data.draw(st.integers(1, 3))
    rank = data.draw(st.integers(1, 3))
    space = data.draw(st.tuples(*[st.integers(1, 5)] * rank)) if case.any_space else case.spaces[-1]
    quantizer = trained(case, 1).eval()
    latents = case.latents(batch, space)
    quantized = quantizer(latents)
    assert torch.equal(quantizer.encode(latents), quantized.codes)
    assert torch.equal(quantizer.decode(quantized.codes), quantized.latents)
    again = quantizer.encode(latents)
    assert torch.equal(again, quantized.codes)


@coded
def test_codes_lie_in_range_and_every_code_decodes(case):
    quantizer = trained(case).eval()
    codes = quantizer.encode(10 * case.latents(4))
    books = codes if len(quantizer.sizes) > 1 else codes[:, None]
    assert (books >= 0).all()
    for book, size in zip(books.unbind(1), quantizer.sizes, strict=True):
        assert book.max() < size
    for start in range(max(quantizer.sizes)):
        limits = torch.tensor(quantizer.sizes).view(1, -1, *[1] * (books.dim() - 2))
        some = (start + torch.arange(books[0].numel()).view_as(books[:1])) % limits
        decoded = quantizer.decode(some.view_as(codes[:1]))
        assert decoded.shape[1] == case.width
        assert torch.isfinite(decoded).all()


@coded
def test_wrong_codes_are_named(case):
    quantizer = case.build()
    codes = quantizer.encode(case.latents(2))
    for wrong in (codes + max(quantizer.sizes), codes - max(quantizer.sizes), codes.float(), codes.int()):
        with pytest.raises(UserError, match="expected"):
            quantizer.decode(wrong)


@every_case
def test_wrong_latents_are_named(case):
    quantizer = case.build()
    for call in (quantizer, quantizer.encode):
        with pytest.raises(UserError, match="expected"):
            call(torch.zeros(2, case.width + 1, *case.spaces[-1]))
    with pytest.raises(UserError, match="expected"):
        quantizer.check_latents(torch.zeros(case.width))


@every_case
def test_only_training_changes_anything(case):
    quantizer = trained(case).eval()
    before = copy.deepcopy(quantizer.state_dict())
    first = quantizer(case.latents())
    quantizer.train().encode(case.latents())
    if case.integer:
        quantizer.decode(first.codes)
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, before[name]), name


@every_case
def test_a_saved_quantizer_continues_bit_equal(case):
    quantizer, twin = trained(case), case.build()
    twin.load_state_dict(copy.deepcopy(quantizer.state_dict()))
    batches = [case.latents() for _ in range(3)]
    outcomes = []
    for one in (quantizer, twin):
        torch.manual_seed(5)
        outcomes.append([one.train()(latents) for latents in batches] + [one.eval()(batches[0])])
    for ours, theirs in zip(*outcomes, strict=True):
        assert torch.equal(ours.latents, theirs.latents)
        assert torch.equal(ours.codes, theirs.codes)
        assert torch.equal(ours.loss, theirs.loss)
    for name, value in twin.state_dict().items():
        assert torch.equal(value, quantizer.state_dict()[name]), name


@every_case
def test_an_unstarted_state_starts_again(case):
    fresh, used = case.build(), trained(case)
    used.load_state_dict(copy.deepcopy(fresh.state_dict()))
    latents = case.latents()
    outputs = []
    for one in (fresh, used):
        torch.manual_seed(5)
        outputs.append(one(latents).latents)
    assert torch.equal(*outputs)


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_chooses_the_codes_of_float32(case, dtype):
    quantizer = trained(case).eval()
    latents = case.latents(16).to(dtype)
    exact = quantizer(latents.float())
    half = quantizer(latents)
    assert half.latents.dtype == dtype
    assert torch.equal(half.codes, exact.codes)
    assert torch.equal(half.latents, exact.latents.to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer.encode(latents.float()), exact.codes)
        assert torch.equal(quantizer(latents).codes, exact.codes)
        assert torch.equal(quantizer.decode(exact.codes), exact.latents)
        loss = quantizer.train()(latents).loss
    assert loss.dtype == torch.float32


@every_case
def test_float64_stays(case):
    quantizer = case.build().double()
    latents = case.latents().double()
    for mode in (True, False):
        assert quantizer.train(mode)(latents).latents.dtype == torch.float64
    quantized = quantizer(latents)
    assert torch.equal(quantizer.decode(quantized.codes), quantized.latents)


@every_case
def test_the_whole_module_in_half_precision_works(case):
    quantizer = case.build().bfloat16()
    latents = case.latents().bfloat16().requires_grad_()
    quantized = quantizer(latents)
    (quantized.latents.sum() + quantized.loss).backward()
    assert torch.isfinite(latents.grad).all()
    if case.integer:
        assert torch.isfinite(quantizer.decode(quantized.codes)).all()


@every_case
def test_every_parameter_and_the_latents_get_a_gradient(case):
    quantizer, latents = trained(case), case.latents(16)
    weights = torch.randn_like(latents)
    found = gradients(quantizer, latents, lambda q: (q.latents * weights).sum() + q.loss)
    names = ["latents", *(name for name, _ in quantizer.named_parameters())]
    for name, gradient in zip(names, found, strict=True):
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("case", [case for case in CASES if case.passes is not None], ids=str)
def test_the_gradient_passes_straight_through(case):
    quantizer, latents = trained(case), case.latents()
    weights = torch.randn_like(latents)
    by_latents, *by_parameters = gradients(quantizer, latents, lambda q: (q.latents * weights).sum())
    assert_close(by_latents, case.passes * weights)
    assert all(not gradient.any() for gradient in by_parameters)


COMMITTED = [case for case in CASES if "commitment" in inspect.signature(QUANTIZERS[case.name]).parameters]


@pytest.mark.parametrize("case", COMMITTED, ids=str)
def test_commitment_scales_the_gradient_of_the_encoder_only(case):
    latents = case.latents()
    found = []
    for weight in (0.0, 0.25, 1.0):
        quantizer = with_commitment(case, weight)
        torch.manual_seed(3)
        found.append(gradients(quantizer, latents, lambda q: q.loss))
    names = ["latents", *(name for name, _ in with_commitment(case, 1.0).named_parameters())]
    for name, zero, quarter, one in zip(names, *found, strict=True):
        if name == "latents" or name.startswith("project_in"):
            assert (one - zero).abs().sum() > 0
            assert_close(quarter - zero, 0.25 * (one - zero), atol=1e-6, rtol=1e-4)
        else:
            assert torch.equal(zero, one), name


TRAINED_BY_LOSS = [
    case
    for case in COMMITTED
    if not case.output_trains_codebook
    and any("codebook" in name for name, _ in case.build().named_parameters())
]


@pytest.mark.parametrize("case", TRAINED_BY_LOSS, ids=str)
def test_the_codebook_is_trained_by_the_codebook_term_only(case):
    """Neither the output, straight through, nor the commitment moves it; its own term does."""
    options = inspect.signature(QUANTIZERS[case.name]).parameters
    latents = case.latents()
    moved = {}
    for weight in (0.0, 1.0) if "codebook_weight" in options else (1.0,):
        others = {"codebook_weight": weight} if "codebook_weight" in options else {}
        quantizer = with_commitment(case, 0.25, **others)
        names = [name for name, _ in quantizer.named_parameters()]
        by_loss = dict(zip(names, gradients(quantizer, latents, lambda q: q.loss)[1:], strict=True))
        by_output = dict(
            zip(names, gradients(quantizer, latents, lambda q: q.latents.sum())[1:], strict=True)
        )
        for name in names:
            if "codebook" in name:
                moved[weight] = moved.get(weight, 0) + by_loss[name].abs().sum()
                assert not by_output[name].any(), name
    assert moved[1.0] > 0
    assert moved.get(0.0, 0) == 0


@every_case
def test_a_copy_is_independent(case):
    quantizer = trained(case)
    twin = copy.deepcopy(quantizer)
    before = copy.deepcopy(twin.state_dict())
    quantizer(case.latents())
    for name, value in twin.state_dict().items():
        assert torch.equal(value, before[name]), name


@coded
def test_metrics_count_the_codes(case):
    quantizer = trained(case)
    metrics = quantizer(case.latents()).metrics
    assert 0 < metrics["used"] <= 1
    assert 1 <= metrics["perplexity"] <= max(quantizer.sizes) * (1 + 1e-6)


@pytest.mark.gpu
@every_case
def test_a_gpu_finds_the_same_codes(case):
    quantizer, latents = trained(case).double().eval(), case.latents().double()
    expected = quantizer(latents)
    found = quantizer.cuda()(latents.cuda())
    assert_close(found.codes.cpu(), expected.codes)
    assert_close(found.latents.cpu(), expected.latents)
    assert torch.equal(quantizer.decode(found.codes), found.latents)
    quantized = quantizer.train()(latents.cuda())
    assert torch.isfinite(quantized.loss)
