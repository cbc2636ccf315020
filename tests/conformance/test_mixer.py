"""The laws of every sequence mixer, over the whole table."""

from __future__ import annotations

import io
import random

import pytest
import torch

from caselli.errors import UserError
from caselli.mixer import MIXERS
from tests.conformance.cases_mixer import (
    BIDIRECTIONAL,
    CASES,
    DEFAULT_TOLERANCE,
    TOLERANCES,
    WIDTH,
    build,
    label,
)

causal = pytest.mark.parametrize("case", CASES, ids=label)
every = pytest.mark.parametrize("case", CASES + BIDIRECTIONAL, ids=label)


def first(cases):
    """The first options of each mixer; the others are slow tests, where another law has most of this one."""
    names = [(case[0], case in CASES) for case in cases]
    slow = [[pytest.mark.slow] if name in names[:n] else [] for n, name in enumerate(names)]
    params = [pytest.param(case, marks=marks) for case, marks in zip(cases, slow, strict=True)]
    return pytest.mark.parametrize("case", params, ids=[label(case) for case in cases])


FORMS = (("parallel", 1), ("chunk", 1), ("chunk", 3), ("chunk", 8), ("step", 1))


def mixer_of(case, dtype=torch.float64):
    """In evaluation mode, with no parameter at a special value such as zero."""
    mixer = build(case).to(dtype).eval()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer


def tokens(batch, length, dtype=torch.float64):
    return torch.randn(batch, length, WIDTH, dtype=dtype)


def run(mixer, x, state=None, form=("parallel", 1), starts=None):
    """One form with a chunk size."""
    mixer.chunk_size = form[1]
    return mixer(x, state, form=form[0], starts=starts)


def leaves(state):
    """The state's floating-point tensors as leaves of a new graph, in the state and as a list."""

    def leaf(tensor):
        tensor = tensor.detach().clone()
        return tensor.requires_grad_() if tensor.is_floating_point() else tensor

    state = state.apply(leaf)
    return state, [tensor for tensor in state.tensors() if tensor.requires_grad]


def close(a, b, tolerance=1e-10):
    scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale)


def gradients(outputs, inputs):
    """Of a fixed random sum of the outputs, zeros where an input has no part in it."""
    generator = torch.Generator().manual_seed(1)
    total = sum((y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in outputs)
    found = torch.autograd.grad(total, inputs, allow_unused=True)
    return [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found, strict=True)]


def test_every_mixer_has_a_case():
    assert set(MIXERS) == {name for name, _ in CASES + BIDIRECTIONAL}


@pytest.mark.parametrize("name", MIXERS)
def test_defaults(name):
    mixer = MIXERS[name](width=64)
    y, _ = mixer(torch.randn(2, 9, 64))
    assert y.shape == (2, 9, 64)
    y.square().mean().backward()
    for key, parameter in mixer.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@causal
def test_forms_are_equal(case):
    """Outputs, and gradients by input, every parameter and the state given, through the state left too."""
    mixer = mixer_of(case)
    prefix, after = tokens(2, 4), tokens(2, 3)
    for length in (1, 13):
        x = tokens(2, length).requires_grad_()
        given, wanted = leaves(mixer(prefix)[1]), None
        for form in FORMS:
            y, state = run(mixer, x, given[0], form)
            outputs = (y, run(mixer, after, state)[0])
            found = (*outputs, *gradients(outputs, [x, *mixer.parameters(), *given[1]]))
            wanted = wanted or found
            for a, b in zip(found, wanted, strict=True):
                close(a, b)


@causal
def test_split_anywhere(case):
    mixer, draw = mixer_of(case), random.Random(0)
    x = tokens(2, 17)
    starts = torch.rand(2, 17) < 0.15
    for marks in (None, starts):
        y, _ = run(mixer, x, starts=marks)
        for _ in range(3):
            pieces, state, position = [], None, 0
            while position < x.shape[1]:
                piece = slice(position, position + draw.choice((0, 1, 1, 2, 5)))
                form = (draw.choice(("auto", "parallel", "chunk", "step")), draw.choice((1, 3, 8)))
                part, state = run(mixer, x[:, piece], state, form, None if marks is None else marks[:, piece])
                pieces.append(part)
                position = piece.stop
            close(torch.cat(pieces, 1), y)


@first(CASES)
def test_future_never_changes_past(case):
    """No form that is equal to the steps sees what comes later."""
    mixer = mixer_of(case)
    x = tokens(1, 12)
    for form in FORMS[:-1]:
        whole, _ = run(mixer, x, form=form)
        for length in (1, 6, 11):
            changed = torch.cat((x[:, :length], tokens(1, 12 - length)), 1)
            close(run(mixer, changed, form=form)[0][:, :length], whole[:, :length])
            close(run(mixer, x[:, :length], form=form)[0], whole[:, :length])


@pytest.mark.parametrize(("width", "state"), [(32, 8), (48, 24), (64, 32)])
@pytest.mark.parametrize("name", MIXERS)
def test_of_state(name, width, state):
    """The state exceeds what was asked for by a dozen tokens at most, unless the mixer keeps every token."""
    kind = MIXERS[name]
    mixer = kind.of_state(width, width * state, **({"length": 96} if kind.bounded else {})).eval()
    with torch.no_grad():
        short, long = (
            sum(tensor.numel() for tensor in mixer(torch.randn(1, length, width))[1].tensors())
            for length in (48, 96)
        )
    assert long > 1.5 * short or long <= width * (state + 12)


@every
def test_packed_is_separate(case):
    """Also after a state, which the first mark forgets; with gradients."""
    mixer = mixer_of(case)
    lengths = ((3, 1, 8), (5, 6, 1))
    x = tokens(2, 12).requires_grad_()
    starts = torch.zeros(2, 12, dtype=torch.bool)
    for row, parts in enumerate(lengths):
        starts[row, [0, parts[0], parts[0] + parts[1]]] = True
    separate = torch.cat(
        [
            torch.cat([run(mixer, part[None])[0] for part in x[row].split(parts)], 1)
            for row, parts in enumerate(lengths)
        ]
    )
    wanted = gradients([separate], [x, *mixer.parameters()])
    for form in FORMS if mixer.causal else FORMS[:1]:
        state = run(mixer, tokens(2, 5))[1] if mixer.causal else None
        y, state = run(mixer, x, state, form, starts)
        close(y, separate)
        for a, b in zip(gradients([y], [x, *mixer.parameters()]), wanted, strict=True):
            close(a, b)
        if mixer.causal:
            after = tokens(1, 2)
            alone = run(mixer, torch.cat((x[1:, -1:], after), 1))[0][:, 1:]
            close(run(mixer, after.expand(2, -1, -1), state)[0][1:], alone)


@every
def test_padding_on_the_left_is_neutral(case):
    mixer = mixer_of(case)
    x, padding = tokens(2, 6), 50 * tokens(2, 5)
    starts = torch.zeros(2, 11, dtype=torch.bool)
    starts[:, 5] = True
    for form in FORMS if mixer.causal else FORMS[:1]:
        y, _ = run(mixer, torch.cat((padding, x), 1), form=form, starts=starts)
        close(y[:, 5:], run(mixer, x)[0])


@first(CASES + BIDIRECTIONAL)
def test_gradcheck(case):
    """The gradients of all forms are compared by `test_forms_are_equal`."""
    mixer = mixer_of(case)
    x = tokens(1, 4).requires_grad_()
    starts = torch.tensor([[False, False, True, False]])
    parameters = list(mixer.parameters())

    for form in (("parallel", 1), ("chunk", 2), ("step", 1)) if mixer.causal else FORMS[:1]:

        def outputs(x, *_, form=form):
            return run(mixer, x, form=form, starts=starts)[0]

        assert torch.autograd.gradcheck(outputs, (x, *parameters), fast_mode=True)


@every
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e4])
def test_extremes_are_finite(case, scale):
    """Inputs and parameters far too small and far too large, forwards and backwards, in float32."""
    mixer = mixer_of(case, torch.float32)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.mul_(3 if scale > 1 else 1)
    x = (scale * tokens(2, 11, torch.float32)).requires_grad_()
    starts = torch.zeros(2, 11, dtype=torch.bool)
    starts[0, 4] = True
    for form in FORMS if mixer.causal else FORMS[:1]:
        y, _ = run(mixer, x, form=form, starts=starts)
        assert y.isfinite().all()
        for gradient in torch.autograd.grad(y.sum(), [x, *mixer.parameters()], allow_unused=True):
            assert gradient is None or gradient.isfinite().all()


@every
def test_lower_precision(case):
    """Within the published tolerances, with a state of float32 at least where it is a sum."""
    mixer = mixer_of(case)
    weights = {key: value.bfloat16() for key, value in mixer.state_dict().items()}
    mixer.load_state_dict(weights)
    x = tokens(2, 24).bfloat16()
    exact, _ = run(mixer, x.double())
    forms = FORMS if mixer.causal else FORMS[:1]
    limits = TOLERANCES.get(case[0], DEFAULT_TOLERANCE)
    for dtype, tolerance in zip((torch.float32, torch.bfloat16), limits, strict=True):
        mixer.to(dtype)
        for form in forms:
            y, _ = run(mixer, x.to(dtype), form=form)
            assert y.dtype == dtype
            error = (y.double() - exact).abs().max() / exact.abs().max()
            assert error < tolerance, f"{form}: {error:.1e}"


@causal
def test_state_is_a_value(case):
    """Detached, copied, saved and loaded it continues the same; the batch is its first axis."""
    mixer = mixer_of(case)
    x, after = tokens(2, 5), tokens(2, 3)
    with torch.no_grad():
        state = mixer(x)[1]
        wanted = mixer(after, state.clone())[0]
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        for same in (state.clone(), state.detach().clone(), torch.load(file, weights_only=False)):
            close(mixer(after, same)[0], wanted, 0)
        second = state.apply(lambda tensor: tensor[1:])
        close(mixer(after[1:], second)[0], wanted[1:])


@causal
def test_no_tokens(case):
    mixer = mixer_of(case)
    state = mixer(tokens(2, 3))[1]
    y, same = mixer(tokens(2, 0), state)
    assert y.shape == (2, 0, WIDTH) and same is state


@pytest.mark.parametrize("case", BIDIRECTIONAL, ids=label)
def test_bidirectional_says_what_it_cannot(case):
    mixer = build(case)
    for form in ("chunk", "step"):
        with pytest.raises(UserError, match="causal=True"):
            mixer(torch.zeros(1, 3, WIDTH), form=form)
    with pytest.raises(UserError, match="causal=True"):
        mixer(torch.zeros(1, 3, WIDTH), mixer.initial_state(1))
