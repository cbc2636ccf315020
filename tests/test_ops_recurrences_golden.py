"""The recurrent ops reproduce the published vectors, gradients included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from caselli.ops.delta_rule import delta_rule
from caselli.ops.dplr_kernel import DplrSystem, dplr_kernel, dplr_kernel_definition
from caselli.ops.gated_linear_attention import gated_linear_attention
from caselli.ops.generalised_delta_rule import generalised_delta_rule
from caselli.ops.linear_attention import linear_attention
from caselli.ops.pairs import as_complex, as_real
from caselli.ops.scan import scan
from caselli.ops.selective_scan import selective_scan
from caselli.ops.wkv import EMPTY_EXPONENT, wkv
from tests.reference.golden import check, from_zero_and_state, golden, leaves, same

CHUNKS = (1, 4, 64)


def normalised_linear_attention(q, k, v, state, **options):
    """Weights that sum to one: the last column of the state is the sum of the keys."""
    y, state = linear_attention(q, k, torch.cat((v, torch.ones_like(v[..., :1])), -1), state, **options)
    return y[..., :-1] / (y[..., -1:] + 1e-6), state


@pytest.mark.parametrize("size", CHUNKS)
def test_linear_attention(size):
    g = golden("01_linear_attention_causal")
    inputs = dict(zip("qkv", leaves(g, *"qkv"), strict=True))
    inputs["S0"], inputs["Z0"] = leaves(g, "S0", "Z0")
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    begin = torch.cat((inputs["S0"], inputs["Z0"][..., None]), -1)
    outputs = {}
    for suffix, state in (("", torch.zeros_like(begin)), ("_from_state", begin)):
        y, state = normalised_linear_attention(F.elu(q) + 1, F.elu(k) + 1, v, state, chunk_size=size)
        outputs |= {"o" + suffix: y, "S" + suffix: state[..., :-1], "Z" + suffix: state[..., -1]}
    check(g, inputs, outputs)
    same(outputs["o"].float(), g["out.o_cpp_float32"], 1e-5)


@pytest.mark.parametrize("size", CHUNKS)
def test_scalar_decay(size):
    g = golden("02_retention_simple_decay")

    def run(q, k, v, decay, state):
        return linear_attention(0.5 * q, k, v, state, log_decay=decay, chunk_size=size)

    from_zero_and_state(g, ("q", "k", "v", "g"), run)
    q, k, v, decay = leaves(g, "q", "k", "v", "g")
    fixed = g["out.retnet_gamma"].log().expand_as(decay)
    same(run(q, k, v, fixed, torch.zeros_like(g["in.S0"]))[0], g["out.o_retnet_fixed_decay"])


@pytest.mark.parametrize("size", CHUNKS)
def test_state_space_duality(size):
    g = golden("05_ssd_minimal")
    inputs = dict(zip(("X", "A", "B", "C"), leaves(g, "X", "A", "B", "C"), strict=True))
    (inputs["S0"],) = leaves(g, "S0")
    outputs = {}
    for suffix, state in (("", torch.zeros_like(inputs["S0"])), ("_from_state", inputs["S0"])):
        y, state = linear_attention(
            inputs["C"], inputs["B"], inputs["X"], state.mT, log_decay=inputs["A"], chunk_size=size
        )
        outputs |= {"Y" + suffix: y, "S" + suffix: state.mT}
    check(g, inputs, outputs)


@pytest.mark.parametrize("size", CHUNKS)
def test_state_space_duality_with_groups(size):
    g = golden("05_ssd_combined")
    names = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    x, dt, a, b, c, d, z, bias = inputs.values()

    def run(delta):
        zero = x.new_zeros(len(x), x.shape[2], b.shape[3], x.shape[3])
        return linear_attention(c, b, x * delta[..., None], zero, log_decay=delta * a, chunk_size=size)[0]

    y = (run(F.softplus(dt + bias)) + d[:, None] * x) * F.silu(z)
    check(g, inputs, {"y": y, "y_plain": run(F.softplus(dt))})


@pytest.mark.parametrize("size", CHUNKS)
def test_gated_linear_attention(size):
    def run(q, k, v, decay, state):
        return gated_linear_attention(0.5 * q, k, v, state, log_decay=decay, chunk_size=size)

    from_zero_and_state(golden("03_gla"), ("q", "k", "v", "gk"), run)


@pytest.mark.parametrize("size", CHUNKS)
def test_rwkv5(size):
    def run(r, k, v, decay, u, state):
        log_decay = -decay.exp().expand_as(k)
        return gated_linear_attention(r, k, v, state, log_decay=log_decay, bonus=u, chunk_size=size)

    from_zero_and_state(golden("06_rwkv5_wkv"), ("r", "k", "v", "time_decay", "u"), run)


@pytest.mark.parametrize("size", CHUNKS)
def test_rwkv6(size):
    def run(r, k, v, w, u, state):
        return gated_linear_attention(r, k, v, state, log_decay=-w.exp(), bonus=u, chunk_size=size)

    from_zero_and_state(golden("06_rwkv6_wkv"), ("r", "k", "v", "w_raw", "u"), run)


@pytest.mark.parametrize("size", CHUNKS)
def test_rwkv7(size):
    def run(r, k, v, w, a, b, state):
        y, state = generalised_delta_rule(r, k, v, state.mT, a=a, b=b, log_decay=-w.exp(), chunk_size=size)
        return y, state.mT

    from_zero_and_state(golden("06_rwkv7_wkv"), ("r", "k", "v", "w_raw", "a", "b"), run)


@pytest.mark.parametrize("size", CHUNKS)
def test_delta_rule(size):
    def run(q, k, v, beta, state):
        return delta_rule(0.5 * q, k, v, state, beta=beta, chunk_size=size)

    from_zero_and_state(golden("07_delta_rule"), ("q", "k", "v", "beta"), run)


@pytest.mark.parametrize("size", CHUNKS)
def test_gated_delta_rule(size):
    def run(q, k, v, beta, decay, state):
        return delta_rule(0.5 * q, k, v, state, beta=beta, log_decay=decay, chunk_size=size)

    from_zero_and_state(golden("07_gated_delta_rule"), ("q", "k", "v", "beta", "g"), run)


@pytest.mark.parametrize("size", CHUNKS)
def test_diagonal_plus_low_rank(size):
    def run(q, k, v, a, b, decay, state):
        return generalised_delta_rule(0.5 * q, k, v, state, a=a, b=b, log_decay=decay, chunk_size=size)

    from_zero_and_state(golden("07_dplr"), ("q", "k", "v", "alpha", "beta", "gk"), run)


@pytest.mark.parametrize("size", CHUNKS)
def test_kimi_delta_attention(size):
    """A delta rule with vector decay is the generalised one, read before the decay."""

    def run(q, k, v, beta, decay, state):
        write = beta[..., None] * k
        return generalised_delta_rule(
            0.5 * q, write, v, state, a=decay.exp() * k, b=-write, log_decay=decay, chunk_size=size
        )

    from_zero_and_state(golden("07_kda"), ("q", "k", "v", "beta", "g"), run)


def test_gated_scan():
    g = golden("08_gated_scan_hgrn")
    decay, x, state = leaves(g, "g", "x", "h0")
    h, h_from_state = scan(decay.exp(), x, torch.zeros_like(state)), scan(decay.exp(), x, state)
    outputs = {
        "h": h,
        "h_from_state": h_from_state,
        "h_last": h[:, -1],
        "h_last_from_state": h_from_state[:, -1],
    }
    check(g, {"g": decay, "x": x, "h0": state}, outputs)


def test_selective_scan():
    g = golden("04_selective_scan")
    names = ("u", "delta", "A", "Bv", "Cv", "Bg", "Cg", "Bc", "Cc", "D", "z", "delta_bias")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    u, delta, a, bv, cv, bg, cg, bc, cc, d, z, bias = inputs.values()
    step = F.softplus(delta + bias[:, None]).mT
    zero = torch.zeros_like(g["in.h0"])

    def run(b, c, channels=slice(None), state=zero):
        part = (u.mT[..., channels], step[..., channels], a[channels])
        return selective_scan(*part, b.mT, c.mT, state[:, channels])

    y, last = run(bv, cv)
    grouped = [run(bg[:, i], cg[:, i], slice(3 * i, 3 * i + 3)) for i in range(2)]
    # Constant B and C belong to a channel each: a scan of the states, read out.
    states = scan((step[..., None] * a).exp(), (step * u.mT)[..., None] * bc, zero)
    skip, gate = d[:, None] * u, F.silu(z)
    outputs = {
        "y": (y.mT + skip) * gate,
        "last_state": last,
        "y_grouped": (torch.cat([y for y, _ in grouped], 2).mT + skip) * gate,
        "last_state_grouped": torch.cat([s for _, s in grouped], 1),
        "y_constBC": (states * cc).sum(-1).mT + skip,
        "last_state_constBC": states[:, -1],
    }
    outputs["y_noz_noD"] = selective_scan(u.mT, step, a, bv.mT, cv.mT, zero)[0].mT
    check(g, inputs, outputs)
    stepped, last = run(bv, cv, state=g["in.h0"])
    same((stepped.mT + skip) * gate, g["out.y_steps_from_h0"])
    same(last, g["out.last_state_steps_from_h0"])


def test_selective_scan_of_complex_rates():
    g = golden("04_selective_scan_complex")
    a, b, c = (torch.complex(g[f"in.{n}.re"], g[f"in.{n}.im"]) for n in ("A", "Bc", "Cc"))
    u, z = g["in.u"].mT, g["in.z"].mT
    step = F.softplus(g["in.delta"].mT + g["in.delta_bias"])
    variable = [
        torch.complex(x[..., 0].contiguous(), x[..., 1].contiguous()).mT[:, :, None]
        for x in (g["in.Bv"].unflatten(2, (-1, 2)), g["in.Cv"].unflatten(2, (-1, 2)))
    ]
    for name, (into, out) in (("constBC", (b, c)), ("varBC", variable)):
        zero = torch.zeros(2, *a.shape, dtype=a.dtype)
        states = scan((step[..., None] * a).exp(), (step * u)[..., None] * into, zero)
        y = (2 * (states * out).sum(-1).real + g["in.D"] * u) * F.silu(z)
        same(y.mT, g[f"out.y_{name}"])
        same(states[:, -1].real, g[f"out.last_state_{name}.re"])
        same(states[:, -1].imag, g[f"out.last_state_{name}.im"])


def test_rwkv4():
    g = golden("06_rwkv4_wkv")
    names = ("key", "value", "time_decay", "time_first", "num0", "den0", "max0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    k, v, decay, first, *state0 = inputs.values()
    empty = torch.stack((*[torch.zeros_like(state0[0])] * 2, torch.full_like(state0[0], EMPTY_EXPONENT)), 1)
    y, last = wkv(k, v, decay.exp(), first, empty)
    y_from_state, last_from_state = wkv(k, v, decay.exp(), first, torch.stack(state0, 1))
    check(g, inputs, {"o": y, "o_from_state": y_from_state})
    for suffix, state in (("", last), ("_from_state", last_from_state)):
        scale = (state[:, 2] - g[f"out.max{suffix}"]).exp()
        same(state[:, 0] * scale, g[f"out.num{suffix}"])
        same(state[:, 1] * scale, g[f"out.den{suffix}"])
    same(wkv(g["in.key_extreme"], v, decay.exp(), first, empty)[0], g["out.o_extreme"])


def s4_system(g, requires_grad=False):
    parts = {n: g[f"in.{n}"].clone().requires_grad_(requires_grad) for n in
             ("w.re", "w.im", "P.re", "P.im", "B.re", "B.im", "C.re", "C.im", "dt")}  # fmt: skip
    w, p, b, c = (torch.complex(parts[f"{n}.re"], parts[f"{n}.im"]) for n in "wPBC")
    return DplrSystem(w, p, b, c[0], parts["dt"]), parts


def test_s4_kernel():
    g = golden("10_s4_dplr_kernel")
    for function in (dplr_kernel, dplr_kernel_definition):
        system, inputs = s4_system(g, requires_grad=True)
        kernel = function(system, 64)
        same(kernel, g["out.K"][0], 1e-9)
        total = (kernel * g["cot.K"][0]).sum()
        for name, gradient in zip(inputs, torch.autograd.grad(total, list(inputs.values())), strict=True):
            same(gradient, g[f"grad.{name}"], 1e-7)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_s4_of_any_rank(rank):
    """The step is that of the whole matrix, by the bilinear rule; the kernel is that of the steps."""
    torch.manual_seed(rank)
    n, channels = 3, 2
    p, b, c = (torch.randn(*s, channels, n, dtype=torch.complex128) for s in ((rank,), (), ()))
    w = torch.complex(-torch.rand(channels, n).double() - 0.1, torch.randn(channels, n).double())
    system = DplrSystem(w, p, b, c, torch.full((channels,), 0.3, dtype=torch.float64))
    identity = torch.eye(2 * n, dtype=torch.float64)
    for channel in range(channels):
        a = torch.stack([as_real(w[channel] * as_complex(x)) for x in identity], 1)
        for one in p[:, channel]:
            inner = 2 * (one.conj() * as_complex(identity)).real.sum(-1)  # of both of each pair
            a = a - as_real(one)[:, None] * inner
        expected = torch.linalg.solve(identity - 0.15 * a, identity + 0.15 * a)
        same(system.transition()[channel], expected)
        same(system.into()[channel], torch.linalg.solve(identity - 0.15 * a, 0.3 * as_real(b[channel])))
    same(dplr_kernel(system, 12), dplr_kernel_definition(system, 12), 1e-9)


def test_s4_recurrence():
    g = golden("10_s4_dplr_kernel")
    system, _ = s4_system(g)
    state, outputs = torch.cat((g["in.state0.re"], g["in.state0.im"]), -1), []
    power = torch.linalg.matrix_power(system.transition(), 7)
    stepped = state
    for _ in range(7):
        stepped = system.advance(stepped)
    same(torch.einsum("dst,bdt->bds", power, state), stepped)
    for u in g["in.u"].unbind(-1):
        state = system.advance(state, u)
        outputs.append((system.out() * state).sum(-1))
    same(torch.stack(outputs, -1), g["out.y_recurrent_from_state0"][:, 0])
    same(state, torch.cat((g["out.next_state.re"], g["out.next_state.im"]), -1))


def test_noncausal_linear_attention():
    g = golden("01_linear_attention_noncausal")
    inputs = dict(zip("qkv", leaves(g, *"qkv"), strict=True))
    q, k, v = F.elu(inputs["q"]) + 1, F.elu(inputs["k"]) + 1, inputs["v"]
    seen = torch.arange(k.shape[1]) < g["in.key_lengths"][:, None]
    outputs = {}
    for name, keys in (("o", k), ("o_padded", k * seen[..., None, None])):
        # Every query after every key: the last state answers.
        zero = k.new_zeros(len(k), *k.shape[2:], v.shape[3] + 1)
        _, state = normalised_linear_attention(keys, keys, v, zero)
        y = torch.einsum("btnd,bndv->btnv", q, state)
        outputs[name] = y[..., :-1] / (y[..., -1:] + 1e-6)
    check(g, inputs, outputs)
