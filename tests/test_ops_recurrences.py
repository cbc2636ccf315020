"""The recurrent ops: fast form = definition = oracle, gradients too, packed sequences, extremes."""

from __future__ import annotations

import functools
import importlib
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import recurrences

# By name: the room's door has functions of the same names.
channel, decayed, delta, gated, generalised, linear, long, scans, selective, short, trapezoidal, wkvs = (
    importlib.import_module(f"caselli.ops.{name}")
    for name in (
        "channel_delta_rule",
        "decayed_scores",
        "delta_rule",
        "gated_linear_attention",
        "generalised_delta_rule",
        "linear_attention",
        "long_convolution",
        "scan",
        "selective_scan",
        "short_convolution",
        "trapezoidal_attention",
        "wkv",
    )
)

BATCH, HEADS, WIDTH, VALUE = 2, 2, 3, 4
CHUNKS = (1, 3, 8, 64)


def numbers(*shape, like="normal"):
    x = torch.randn(*shape, dtype=torch.float64)
    if like == "log decay":
        x = -2 * x.square()
    if like == "share":
        x = x.sigmoid()
    if like == "unit":
        x = F.normalize(x, dim=-1)
    return x.requires_grad_()


def linear_case(length):
    keys = [numbers(BATCH, length, HEADS, WIDTH) for _ in range(2)]
    v, g = numbers(BATCH, length, HEADS, VALUE), numbers(BATCH, length, HEADS, like="log decay")
    return [*keys, v, g, numbers(BATCH, HEADS, WIDTH, VALUE)]


def gated_case(length):
    q, k, v, _, state = linear_case(length)
    return [q, k, v, numbers(BATCH, length, HEADS, WIDTH, like="log decay"), state]


def bonus_case(length):
    return [*gated_case(length), numbers(HEADS, WIDTH)]


def delta_case(length):
    q, _, v, g, state = linear_case(length)
    k, beta = numbers(BATCH, length, HEADS, WIDTH, like="unit"), numbers(BATCH, length, HEADS, like="share")
    return [q, k, v, beta, g, state]


def product_case(length):
    """Two writes a token, each read under a key of its own."""
    shape = (BATCH, length, 2, HEADS)
    k, reads = numbers(*shape, WIDTH, like="unit"), numbers(*shape, WIDTH, like="unit")
    q, _, _, g, state = linear_case(length)
    return [q, k, numbers(*shape, VALUE), reads, g, state]


def channel_case(length):
    q, _, v, g, state = gated_case(length)
    k, reads = (numbers(BATCH, length, HEADS, WIDTH, like="unit") for _ in range(2))
    return [q, k, v, reads, g, state]


def generalised_case(length):
    q, k, v, g, state = gated_case(length)
    a = numbers(BATCH, length, HEADS, WIDTH, like="unit")
    b = (-0.7 * a.detach()).requires_grad_()
    return [q, k, v, a, b, g, state]


def selective_case(length):
    x, delta_ = numbers(BATCH, length, 5), numbers(BATCH, length, 5, like="share")
    b, c = numbers(BATCH, length, WIDTH), numbers(BATCH, length, WIDTH)
    return [x, delta_, numbers(5, WIDTH, like="log decay"), b, c, numbers(BATCH, 5, WIDTH)]


def fast_linear(q, k, v, g, state, **options):
    return linear.linear_attention(q, k, v, state, log_decay=g, **options)


def fast_gated(q, k, v, g, state, bonus=None, **options):
    return gated.gated_linear_attention(q, k, v, state, log_decay=g, bonus=bonus, **options)


def fast_delta(q, k, v, beta, g, state, **options):
    return delta.delta_rule(q, k, v, state, beta=beta, log_decay=g, **options)


def fast_product(q, k, v, reads, g, state, **options):
    return delta.delta_product(q, k, v, state, reads=reads, log_decay=g, **options)


def fast_channel(q, k, v, reads, g, state, **options):
    return channel.channel_delta_rule(q, k, v, state, reads=reads, log_decay=g, **options)


def fast_generalised(q, k, v, a, b, g, state, **options):
    return generalised.generalised_delta_rule(q, k, v, state, a=a, b=b, log_decay=g, **options)


def fast_selective(*inputs, chunk_size=None, **options):
    return selective.selective_scan(*inputs, **options)


def oracle(recurrence):
    return lambda *inputs: recurrences.over_heads(recurrence, None, *inputs[:-1], state=inputs[-1])


def oracle_of_products(q, k, v, reads, g, state):
    k, v, reads = (x.transpose(2, 3) for x in (k, v, reads))
    return recurrences.over_heads(recurrences.delta_product, None, q, k, v, reads, g, state=state)


def oracle_with_bonus(*inputs):
    *inputs, state, bonus = inputs
    return recurrences.over_heads(recurrences.linear_attention_with_bonus, bonus, *inputs, state=state)


OPS = {
    "linear": (
        linear_case,
        fast_linear,
        linear.linear_attention_definition,
        oracle(recurrences.linear_attention),
    ),
    "gated": (
        gated_case,
        fast_gated,
        gated.gated_linear_attention_definition,
        oracle(recurrences.gated_linear_attention),
    ),
    "bonus": (bonus_case, fast_gated, gated.gated_linear_attention_definition, oracle_with_bonus),
    "delta": (delta_case, fast_delta, delta.delta_rule_definition, oracle(recurrences.delta_rule)),
    "product": (
        product_case,
        fast_product,
        delta.delta_product_definition,
        oracle_of_products,
    ),
    "channel": (
        channel_case,
        fast_channel,
        channel.channel_delta_rule_definition,
        oracle(recurrences.channel_delta_rule),
    ),
    "generalised": (
        generalised_case,
        fast_generalised,
        generalised.generalised_delta_rule_definition,
        oracle(recurrences.generalised_delta_rule),
    ),
    "selective": (
        selective_case,
        fast_selective,
        selective.selective_scan_definition,
        recurrences.selective_scan,
    ),
}
STATE = {"bonus": -2}
"""Where the state stands among the inputs, if not last."""


def with_gradients(function, inputs):
    y, state = function(*inputs)
    generator = torch.Generator().manual_seed(3)
    total = sum((o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in (y, state))
    return (y, state, *torch.autograd.grad(total, inputs))


def same(found, wanted, tolerance=1e-11):
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("length", [1, 2, 13])
def test_fast_form_is_the_definition_and_the_oracle(name, length):
    case, fast, definition, slow = OPS[name]
    inputs = case(length)
    wanted = with_gradients(slow, inputs)
    same(with_gradients(definition, inputs), wanted)
    for size in CHUNKS:
        same(with_gradients(functools.partial(fast, chunk_size=size), inputs), wanted)


@pytest.mark.parametrize("name", [name for name in OPS if name != "selective"])
@pytest.mark.parametrize("marked", [False, True])
def test_long_sequences_in_pieces(name, marked, monkeypatch):
    """Computed piece by piece they are the same, gradients too."""
    case, fast, _, _ = OPS[name]
    starts = torch.rand(BATCH, 29) < 0.15 if marked else None
    function, inputs = functools.partial(fast, chunk_size=4, starts=starts), case(29)
    wanted = with_gradients(function, inputs)
    pieces = importlib.import_module("caselli.ops.pieces")
    monkeypatch.setattr(pieces, "LONG", 0)
    for elements in (1, BATCH * 8 * HEADS * VALUE):
        monkeypatch.setattr(pieces, "PIECE_ELEMENTS", elements)
        same(with_gradients(function, inputs), wanted)


@pytest.mark.parametrize("name", OPS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(marks=st.lists(st.booleans(), min_size=2, max_size=19), size=st.sampled_from(CHUNKS))
def test_packed_sequences_are_separate(name, marks, size):
    """`starts` equals a run for each sequence, the first of which has the state given."""
    case, fast, definition, _ = OPS[name]
    inputs, where = case(len(marks)), STATE.get(name, -1)
    starts = torch.tensor([marks] * BATCH)
    y, last = fast(*inputs, starts=starts, chunk_size=size)
    outputs, state, bounds = [], inputs[where], [i for i, m in enumerate(marks) if m or i == 0] + [len(marks)]
    for begin, end in itertools.pairwise(bounds):
        if marks[begin]:
            state = torch.zeros_like(state)
        part = [x[:, begin:end] if x.ndim > 2 and x.shape[1] == len(marks) else x for x in inputs]
        if name == "selective":
            part[2] = inputs[2]
        part[where] = state
        if name == "bonus":
            part[-1] = inputs[-1]
        piece, state = definition(*part)
        outputs.append(piece)
    same((y, last), (torch.cat(outputs, 1), state))


@pytest.mark.parametrize("name", [name for name in OPS if name != "selective"])
@pytest.mark.parametrize("floor", [-1e30, -torch.inf, -200.0, -1e-30, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_decay_is_safe(name, floor, dtype):
    """Decays of zero and one: finite, and as the definition."""
    case, fast, definition, _ = OPS[name]
    index = {"delta": 4, "product": 4, "channel": 4, "generalised": 5}.get(name, 3)
    inputs = [x.detach().to(dtype).requires_grad_() for x in case(21)]
    g = torch.where(torch.rand_like(inputs[index]) < 0.5, floor, inputs[index].detach())
    inputs[index] = g.requires_grad_()
    y, state = fast(*inputs, chunk_size=16)
    gradients = torch.autograd.grad(y.sum() + state.sum(), inputs)
    assert all(x.isfinite().all() for x in (y, state, *gradients))
    wanted, last = definition(*inputs)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(y, wanted, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(state, last, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [1, 3])
def test_trapezoidal_attention(rows):
    shape = (BATCH, 9, rows, HEADS)
    q, k, v = numbers(*shape, WIDTH), numbers(*shape, WIDTH), numbers(*shape, VALUE)
    g = numbers(BATCH, 9, HEADS, like="log decay")
    step, share = (numbers(BATCH, 9, HEADS, like="share") for _ in range(2))
    last = [numbers(BATCH, rows, HEADS, n) for n in (WIDTH, VALUE)]
    inputs = [q, k, v, g, step, share, numbers(BATCH, HEADS, WIDTH, VALUE), *last]

    def fast(q, k, v, g, step, share, state, last_k, last_v, **options):
        options |= {"log_decay": g, "step": step, "share": share}
        return trapezoidal.trapezoidal_attention(q, k, v, state, last_k, last_v, **options)

    wanted = with_gradients(trapezoidal.trapezoidal_attention_definition, inputs)
    for size in CHUNKS:
        same(with_gradients(functools.partial(fast, chunk_size=size), inputs), wanted)
    starts = torch.zeros(BATCH, 9, dtype=torch.bool)
    starts[:, 4] = True
    y, state = fast(*inputs, starts=starts, chunk_size=4)
    halves = [[x[:, part] for x in inputs[:6]] for part in (slice(0, 4), slice(4, 9))]
    zeros = [torch.zeros_like(x) for x in inputs[6:]]
    first, _ = trapezoidal.trapezoidal_attention_definition(*halves[0], *inputs[6:])
    second, last = trapezoidal.trapezoidal_attention_definition(*halves[1], *zeros)
    same((y, state), (torch.cat((first, second), 1), last))


def test_groups_of_heads_share_keys():
    q, k = numbers(2, 9, 2, 3), numbers(2, 9, 2, 3)
    v, g, state = numbers(2, 9, 6, 4), numbers(2, 9, 6, like="log decay"), numbers(2, 6, 3, 4)
    inputs = [q, k, v, g, state]
    wanted = with_gradients(linear.linear_attention_definition, inputs)
    same(with_gradients(functools.partial(fast_linear, chunk_size=4), inputs), wanted)
    repeated, _ = linear.linear_attention_definition(
        q.repeat_interleave(3, 2), k.repeat_interleave(3, 2), v, g, state
    )
    same((repeated,), wanted[:1])


@pytest.mark.parametrize("size", [1, 2, 16])
def test_decayed_scores(size):
    q, k = numbers(2, 1, size, 3), numbers(2, 2, size, 3)
    g = numbers(2, 2, size, 3, like="log decay")

    def scores(function):
        result = function(q, k, g)
        return (result, *torch.autograd.grad(result.square().sum(), (q, k, g)))

    same(scores(decayed.decayed_scores), scores(decayed.decayed_scores_definition))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("length", [1, 7, 67, 150])
def test_scan(dtype, length, monkeypatch):
    """Both the plain and the folded form, with decays that broadcast."""
    for shape in ((2, length, 3), (1, length, 1), (2, length, 1)):
        a = (0.9 * torch.rand(shape, dtype=torch.float64).to(dtype)).requires_grad_()
        b = torch.randn(2, length, 3, dtype=dtype, requires_grad=True)
        state = torch.randn(2, 3, dtype=dtype, requires_grad=True)
        for small in (0, 1 << 20):
            monkeypatch.setattr(scans, "SMALL_ROW", small)
            outcomes = []
            for function in (scans.scan, scans.scan_definition, recurrences.scan):
                h = function(a, b, state)
                outcomes.append((h, *torch.autograd.grad(h.abs().square().sum(), (a, b, state))))
            same(outcomes[0], outcomes[2])
            same(outcomes[1], outcomes[2])


def test_scan_is_twice_differentiable():
    a, b, h = (
        torch.randn(s, dtype=torch.complex128, requires_grad=True) for s in ((1, 4, 2), (2, 4, 2), (2, 2))
    )
    assert torch.autograd.gradcheck(scans.scan, (a, b, h))
    assert torch.autograd.gradgradcheck(scans.scan, (a, b, h))


def test_selective_scan_in_pieces(monkeypatch):
    inputs = selective_case(23)
    wanted = with_gradients(recurrences.selective_scan, inputs)
    for elements in (1, 5 * BATCH * 5 * WIDTH):
        monkeypatch.setattr(selective, "PIECE_ELEMENTS", elements)
        same(with_gradients(selective.selective_scan, inputs), wanted)


def test_wkv():
    k, v = numbers(2, 12, 3), numbers(2, 12, 3)
    decay, bonus = numbers(3, like="share"), numbers(3)
    empty = torch.zeros(2, 3, 3, dtype=torch.float64)
    empty[:, 2] = wkvs.EMPTY_EXPONENT
    zero = torch.zeros(2, 3, dtype=torch.float64)
    inputs = (k, v, decay, bonus)
    fast, state = wkvs.wkv(*inputs, empty)
    slow, numerator, denominator = recurrences.wkv(*inputs, zero, zero)
    for found, wanted in ((fast, slow), (wkvs.wkv_definition(*inputs), slow)):
        same(
            (found, *torch.autograd.grad(found.square().sum(), inputs, retain_graph=True)),
            (wanted, *torch.autograd.grad(wanted.square().sum(), inputs, retain_graph=True)),
        )
    same((state[:, 0] * state[:, 2].exp(), state[:, 1] * state[:, 2].exp()), (numerator, denominator))


def test_wkv_of_huge_keys():
    k, v = 1e3 * torch.randn(2, 40, 3), torch.randn(2, 40, 3)
    state = torch.zeros(2, 3, 3)
    state[:, 2] = wkvs.EMPTY_EXPONENT
    y, state = wkvs.wkv(k, v, torch.rand(3), torch.randn(3), state)
    assert y.isfinite().all() and state.isfinite().all()
    assert (y.abs() <= v.abs().amax(1, keepdim=True) + 1e-5).all()


@pytest.mark.parametrize("reach", [1, 5, 11])
def test_long_convolution(reach):
    x, kernel = numbers(2, 11, 3), numbers(3, reach)
    outcomes = []
    for function in (long.long_convolution, long.long_convolution_definition):
        y = function(x, kernel)
        outcomes.append((y, *torch.autograd.grad(y.square().sum(), (x, kernel))))
    same(*outcomes)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("rows", [1, 2, 4, 256])
def test_short_convolution(width, length, rows, monkeypatch):
    monkeypatch.setattr(short, "ROWS", rows)
    x, weight, state = numbers(2, length, 3), numbers(3, width), numbers(2, width - 1, 3)
    bias = numbers(3)
    y, last = short.short_convolution(x, weight, state, bias=bias)
    results = (y, short.short_convolution_definition(x, weight, bias, state))
    outcomes = [(r, *torch.autograd.grad(r.square().sum(), (x, weight, state, bias))) for r in results]
    same(*outcomes)
    same((last,), (torch.cat((state, x), 1)[:, length:],))


def test_half_precision_keeps_a_float32_state():
    inputs = [x.detach().bfloat16() for x in linear_case(9)]
    inputs[-1] = inputs[-1].float()
    y, state = fast_linear(*inputs)
    assert y.dtype == torch.bfloat16 and state.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = fast_linear(*(x.float() for x in inputs))
    same((y,), (fast_linear(*(x.float() for x in inputs))[0],), 0)


@pytest.mark.parametrize("name", [name for name in OPS if name not in ("bonus", "selective")])
@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_float32_keeps_its_digits(name, strength):
    """However strong the decays and long the chunk: no small difference of two large sums is taken."""
    case, fast, definition, _ = OPS[name]
    index = {"delta": 4, "product": 4, "channel": 4, "generalised": 5}.get(name, 3)
    inputs = [x.detach() for x in case(400)]
    inputs[index] = -strength * torch.rand_like(inputs[index]) ** 4
    if name in ("product", "channel"):
        inputs[3] = (
            0.5 * inputs[1]
        )  # what is read under an unrelated key can make the memory grow without end
    inputs = [x.float().double() for x in inputs]
    wanted, _ = definition(*inputs)
    for size in (64, 400):
        y, _ = fast(*(x.float() for x in inputs), chunk_size=size)
        assert (y.double() - wanted).abs().max() < 5e-6 * wanted.abs().max()
