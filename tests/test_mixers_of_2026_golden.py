"""The mixers of 2025 and 2026, and their ops, reproduce the published vectors; 2-D decay, its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from caselli.mixer import LASAD, Mamba3
from caselli.mixer.hgrn2 import forget_gate
from caselli.mixer.parts_delta import ChannelDecay
from caselli.ops import (
    block_choice,
    channel_delta_rule,
    delta_product,
    forgetting_attention,
    gated_linear_attention,
    log_linear_attention,
    mesa,
    mixture_of_block_attention,
    native_sparse_attention,
    path_scores,
    rotary,
    trapezoidal_attention,
)
from caselli.ops.forgetting_attention import forgetting_attention_definition
from caselli.ops.log_linear_attention import log_linear_attention_definition
from caselli.ops.mesa import mesa_definition
from caselli.ops.path_attention import path_scores_definition
from tests.reference.golden import check, from_zero_and_state, golden, leaves, same

CHUNKS = (1, 4, 64)
chunks = pytest.mark.parametrize("size", CHUNKS)


@chunks
def test_gated_delta_net2(size):
    def run(q, k, v, decay, erase, write, state):
        reads = decay.exp() * erase * k
        options = {"reads": reads, "log_decay": decay, "chunk_size": size}
        return channel_delta_rule(0.5 * q, k, write * v, state, **options)

    from_zero_and_state(golden("24_gdn2"), ("q", "k", "v", "g", "b", "w"), run)


@chunks
def test_comba(size):
    """Both readings: before the decay, as the kernels and the paper have it, and after."""
    g = golden("24_comba")
    names = ("q", "k", "v", "p", "beta", "g", "S0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, p, beta, decay, state = inputs.values()
    outputs = {}
    for suffix, initial in (("", torch.zeros_like(state)), ("_from_state", state)):
        for when, kept in (("_read_before_decay", 1.0), ("", decay.exp()[..., None])):
            reads, values = beta[..., None] * kept * p, beta[..., None] * v
            parts = (x[:, :, None] for x in (k, values))
            options = {"reads": reads[:, :, None], "log_decay": decay, "chunk_size": size}
            y, last = delta_product(0.5 * q, *parts, initial, **options)
            outputs |= {f"o{when}{suffix}": y, f"S{when}{suffix}": last}
    check(g, inputs, outputs)


@chunks
def test_gated_delta_product(size):
    g = golden("24_gated_delta_product")
    names = ("q", "k", "v", "beta", "g", "S0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, beta, decay, state = inputs.values()
    k, v, beta = (x.unflatten(1, (-1, 2)) for x in (k, v, beta[..., None]))
    first = torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None]
    outputs = {}
    for suffix, log_decay, initial in (
        ("", decay, torch.zeros_like(state)),
        ("_from_state", decay, state),
        ("_ungated_from_state", torch.zeros_like(decay), state),
    ):
        reads = beta * (log_decay[:, :, None] * first).exp()[..., None] * k
        options = {"reads": reads, "log_decay": log_decay, "chunk_size": size}
        y, last = delta_product(q, k, beta * v, initial, **options)
        outputs |= {f"o{suffix}": y, f"S{suffix}": last}
    check(g, inputs, outputs)


@chunks
def test_kimi_delta_attention_with_its_gates(size):
    """Softplus and bounded decays; four value heads over two of keys."""
    g = golden("24_kda_gates")
    names = ("q", "k", "v", "g_raw", "A_log", "dt_bias", "beta", "S0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, raw, log_a, bias, beta, state = inputs.values()
    q, k = (x.repeat_interleave(2, 2) for x in (q, k))

    def decay_of(bound, log_a, bias):
        decay = ChannelDecay(16, 4, 2, bound)
        del decay.log_a, decay.bias
        decay.log_a, decay.bias = log_a, bias
        return decay.of(raw)

    found = {"g": decay_of(0.0, log_a, bias), "g_lower_bound": decay_of(-5.0, log_a, bias)}
    outputs = dict(found)
    outputs["g_no_bias"] = decay_of(0.0, log_a, torch.zeros_like(bias))
    outputs["g_lower_bound_no_A"] = decay_of(-5.0, torch.zeros_like(log_a), bias)
    for suffix, decay, initial in (
        ("", found["g"], torch.zeros_like(state)),
        ("_lower_bound_from_state", found["g_lower_bound"], state),
    ):
        reads = beta[..., None] * decay.exp() * k
        options = {"reads": reads, "log_decay": decay, "chunk_size": size}
        y, last = channel_delta_rule(0.5 * q, k, beta[..., None] * v, initial, **options)
        outputs |= {f"o{suffix}": y, f"S{suffix}": last}
    check(g, inputs, outputs)


@chunks
def test_hgrn2(size):
    g = golden("25_hgrn2")
    names = ("q_raw", "f_raw", "i", "lower_bound", "S0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, raw, i, least, state = inputs.values()
    bounded = least + (1 - least) * raw.sigmoid()  # one for each channel; the mixer has one number
    outputs = {}
    for suffix, (k, decay), initial in (
        ("", forget_gate(raw, 0.0), torch.zeros_like(state)),
        ("_lower_bound_from_state", (1 - bounded, bounded.log()), state),
    ):
        options = {"log_decay": decay, "chunk_size": size}
        y, last = gated_linear_attention(0.5 * F.silu(q), k, i, initial, **options)
        outputs |= {f"o{suffix}": y, f"S{suffix}": last}
    check(g, inputs, outputs)
    k, decay = forget_gate(raw, 0.3)
    torch.testing.assert_close(decay.exp(), 1 - k)
    torch.testing.assert_close(decay.exp(), 0.3 + 0.7 * raw.sigmoid())


def test_forgetting_attention():
    g = golden("27_forgetting_attn")
    inputs = dict(zip("qkvg", leaves(g, *"qkvg"), strict=True))
    q, k, v, decay = (x.transpose(1, 2) for x in inputs.values())
    near = torch.ones(11, 11, dtype=torch.bool).tril().triu(-3)[None, None]
    total = decay.cumsum(2)
    outputs = {
        "o": forgetting_attention(q, k, v, total),
        "o_scale1": forgetting_attention(2 * q, k, v, total),
        "o_window": forgetting_attention(q, k, v, total, near),
    }
    check(g, inputs, {name: y.transpose(1, 2) for name, y in outputs.items()})
    definition = forgetting_attention_definition(q, k, v, decay)
    torch.testing.assert_close(definition, outputs["o"], rtol=1e-12, atol=1e-12)


def halves(x):
    """Neighbouring channels, which a rotation pairs, → first and second halves."""
    return torch.cat((x[..., ::2], x[..., 1::2]), -1)


def neighbours(x):
    """The inverse of `halves`."""
    return torch.stack(x.chunk(2, -1), -1).flatten(-2)


def turned(x, angle):
    return rotary(x, F.pad(angle, (0, x.shape[-1] // 2 - angle.shape[-1]))[:, :, None])


def turning(g, angle, rate):
    return (torch.pi * g["Angles"].tanh() * rate[..., None]).cumsum(1) + angle[:, None]


def trapezoid(g, q, k, v, state, last_k, last_v, size):
    decay, rate, share = (g[name].transpose(1, 2) for name in ("ADT", "DT", "Trap"))
    options = {"log_decay": decay, "step": rate, "share": share.sigmoid(), "chunk_size": size}
    return trapezoidal_attention(q, k, v, state, last_k, last_v, **options)


@chunks
def test_mamba3(size):
    g = golden("26_mamba3_siso")
    names = [name.removeprefix("in.") for name in g if name.startswith("in.")]
    x = dict(zip(names, leaves(g, *names), strict=True))
    given, outputs = [x[name] for name in ("angle0", "S0", "K0", "V0")], {}
    for suffix in ("_plain", "_from_state"):
        begin = given if suffix == "_from_state" else [torch.zeros_like(part) for part in given]
        angle = turning(x, begin[0], x["DT"].transpose(1, 2))
        q, k = (turned(halves(x[n] + x[f"{n}_bias"])[:, :, None], angle) for n in "QK")
        v, last = x["V"][:, :, None], (halves(begin[2])[:, None], begin[3][:, None])
        y, memory = trapezoid(x, q, k, v, halves(begin[1]).mT, *last, size)
        y = y[:, :, 0]
        if suffix == "_from_state":
            y = (y + x["D"][:, None] * x["V"]) * F.silu(x["Z"])
        outputs |= {
            f"o{suffix}": y,
            f"angle{suffix}": angle[:, -1] % (2 * torch.pi),
            f"S{suffix}": neighbours(memory.mT),
            f"k_last{suffix}": neighbours(k[:, -1, 0]),
            f"v_last{suffix}": x["V"][:, -1],
        }
    check(g, x, outputs)


@chunks
def test_mamba3_of_several_rows(size):
    g = golden("26_mamba3_mimo")
    x = {name.removeprefix("in."): value for name, value in g.items() if name.startswith("in.")}
    rate, rows = x["DT"].transpose(1, 2), {n: x[f"MIMO_{n}"].transpose(0, 1) for n in "VZO"}
    v, z = x["V"][:, :, None] * rows["V"], x["Z"][:, :, None] * rows["Z"]

    def run(regroup, angle, state, last_k, last_v):
        q, k = (regroup(x[n] + x[f"{n}_bias"].transpose(0, 1)) for n in "QK")
        q, k = turned(q, angle), turned(k, angle)
        return trapezoid(x, q, k, v, regroup(state).mT, regroup(last_k), last_v, size)

    zero = [torch.zeros_like(x[name]) for name in ("angle0", "S0")]
    zero += [torch.zeros_like(x[name].transpose(1, 2)) for name in ("K0", "V0")]
    angle = turning(x, zero[0], rate)
    y, memory = run(halves, angle, *zero[1:])
    same((y * rows["O"]).sum(2), g["out.o_plain"])
    same(neighbours(memory.mT), g["out.S_plain"])
    normed = F.rms_norm(y + x["D"][:, None] * v, (4,), eps=1e-5) * x["norm_weight"] * F.silu(z)
    same((normed * rows["O"]).sum(2), g["out.o_normed"])
    y, _ = run(lambda part: part, angle, *zero[1:])
    same((y * rows["O"]).sum(2), g["out.o_plain_half_rotation"])
    y, _ = run(lambda part: part, angle[..., :2], *zero[1:])
    same((y * rows["O"]).sum(2), g["out.o_plain_quarter_rotation"])
    angle = turning(x, x["angle0"], rate)
    y, memory = run(halves, angle, x["S0"], x["K0"].transpose(1, 2), x["V0"].transpose(1, 2))
    same(neighbours(memory.mT), g["out.S_from_state"])
    y = y + x["D"][:, None] * v
    same((y * F.silu(z) * rows["O"]).sum(2), g["out.o_from_state"])


@pytest.mark.parametrize("form", ["parallel", "chunk", "step"])
@pytest.mark.parametrize("variant", ["siso", "siso_norm", "mimo", "mimo_norm"])
def test_mamba3_layers(variant, form):
    """Whole layers with the published weights; without rank these turn neighbours, ours halves."""
    g = golden("26_mamba3_layer")
    prefix = f"weights.{variant}."
    w = {name.removeprefix(prefix): x.double() for name, x in g.items() if name.startswith(prefix)}
    rank = 2 if variant.startswith("mimo") else 1
    turn = 1.0 if variant.endswith("norm") else 0.5
    mixer = Mamba3(8, state_size=8, head_width=4, rank=rank, turning=turn, normalise="norm.weight" in w)
    regroup = halves if rank == 1 else lambda x: x
    projections = list(w["in_proj.weight"].split(mixer.sizes))
    projections[2:4] = [regroup(part.mT).mT for part in projections[2:4]]
    rows = {"x": "mimo_x", "z": "mimo_z", "y": "mimo_o"} if rank > 1 else {}
    named = {
        "input.weight": torch.cat(projections),
        "delta_bias": w["dt_bias"],
        "skip": w["D"],
        "output.weight": w["out_proj.weight"],
        **{f"{n}_norm": regroup(w[f"{n.upper()}_norm.weight"]) for n in "bc"},
        **{f"{n}_bias": regroup(w[f"{n.upper()}_bias"]).transpose(0, 1) for n in "bc"},
        **{f"{ours}_rows": w[theirs].transpose(0, 1) for ours, theirs in rows.items()},
    }
    if "norm.weight" in w:
        named["norm"] = w["norm.weight"].unflatten(0, (4, 4))
    mixer.double().load_state_dict(named)
    mixer.chunk_size = 3
    u = g["in.u"].clone().requires_grad_()
    y, _ = mixer(u, form=form)
    same(y, g[f"out.y_{variant}"])
    (y * g[f"cot.y_{variant}"]).sum().backward()
    same(u.grad, g[f"grad.u_{variant}"])
    for ours, theirs in {"delta_bias": "dt_bias", "skip": "D", "output.weight": "out_proj.weight"}.items():
        same(mixer.get_parameter(ours).grad, g[f"grad.{prefix}{theirs}"])


def test_path_attention():
    g = golden("27_path_attn")
    names = ("q", "k", "v", "w", "beta", "g")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, w, beta, decay = (x.transpose(1, 2) for x in inputs.values())
    total = decay.cumsum(2)
    faded = total[..., None] - total[:, :, None]
    seen = torch.ones(12, 12, dtype=torch.bool).tril()
    values = v.repeat_interleave(2, 1)
    for size in (1, 5, 12):
        earlier, rows = k[:, :, :0], []
        for begin in range(0, 12, size):
            part = slice(begin, begin + size)
            row, earlier = path_scores(*(x[:, :, part] for x in (q, k, w, beta)), earlier)
            rows.append(F.pad(row, (0, 12 - row.shape[-1])))
        scores, outputs = torch.cat(rows, 2), {}
        for name, bias in (("o", faded), ("o_no_decay", 0.0)):
            weights = (0.5 * (scores + bias)).masked_fill(~seen, -torch.inf).softmax(-1)
            outputs[name] = (weights @ values).transpose(1, 2)
        check(g, inputs, outputs)
    repeated = (x.repeat_interleave(2, 1) for x in (k, w, beta))
    same(path_scores_definition(q, *repeated), scores.tril())


gathered = pytest.mark.parametrize("long", [0, block_choice.LONG])


@gathered
def test_mixture_of_block_attention(long, monkeypatch):
    """Two sequences in one row, then each alone, all scores or those of what is chosen."""
    monkeypatch.setattr(block_choice, "LONG", long)
    g = golden("27_moba")
    inputs = dict(zip("qkv", leaves(g, *"qkv"), strict=True))
    q, k, v = (x.transpose(0, 1)[None] for x in inputs.values())
    begin = torch.tensor([[0] * 13 + [13] * 6])
    y = mixture_of_block_attention(q, k, v, begin, size=4, count=2)
    check(g, inputs, {"o": y[0].transpose(0, 1)})
    for part in (slice(0, 13), slice(13, 19)):
        alone = mixture_of_block_attention(*(x[:, :, part] for x in (q, k, v)), size=4, count=2)
        same(alone, y[:, :, part])


@gathered
def test_native_sparse_attention(long, monkeypatch):
    monkeypatch.setattr(block_choice, "LONG", long)
    g = golden("27_nsa")
    names = ("q", "k", "v", "g_cmp", "g_slc", "g_swa")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, *gates = (x.transpose(1, 2) for x in inputs.values())
    gates = torch.stack(gates, -1)
    options = {"size": 4, "count": 4, "window": 5}

    def run(gates, begin=None):
        return native_sparse_attention(q, k, v, gates, begin, **options).transpose(1, 2)

    one = torch.eye(3, dtype=torch.float64).expand(*gates.shape[:3], 3, 3)
    outputs = {"o": run(gates), "o_cmp": run(one[..., 0]), "o_slc": run(one[..., 1])}
    # The functional of the vectors has the sums of exponentials too, where a block is complete.
    means = k[:, :, :20].unflatten(2, (5, 4)).mean(3).repeat_interleave(16, 1)
    complete = torch.arange(5) < (torch.arange(22)[:, None] + 1) // 4
    scores = (3**-0.5 * q @ means.mT).masked_fill(~complete, -torch.inf)
    g["out.lse_cmp"] = g["out.lse_cmp"].masked_fill(g["out.lse_cmp"] == -torch.inf, 0)
    outputs["lse_cmp"] = F.pad(scores[:, :, 3:].logsumexp(-1).transpose(1, 2), (0, 0, 3, 0))
    check(g, inputs, outputs)
    same(run(gates, torch.zeros(1, 22, dtype=torch.int64)), outputs["o"])


def nothing_seen(v, width):
    """The state of log-linear attention before the first token."""
    return v.new_zeros(len(v), 0, v.shape[2], width, v.shape[3]), torch.zeros(len(v), dtype=torch.int64)


@chunks
def test_log_linear_attention(size):
    g = golden("27_log_linear_attn")
    names = ("q", "k", "v", "g", "level_scales")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, decay, scales = inputs.values()
    options = {"log_decay": decay, "scales": scales, "chunk_size": size}
    y, _, _ = log_linear_attention(q, k, v, *nothing_seen(v, 4), **options)
    check(g, inputs, {"o": y})
    same(log_linear_attention_definition(q, k, v, scales, decay), y)


@chunks
@pytest.mark.parametrize("levels", [3, 8])
def test_log_linear_delta_rule(size, levels):
    """The definition, in pieces too, with gradients."""
    q, v = torch.randn(2, 2, 21, 2, 4, dtype=torch.float64)
    k = F.normalize(torch.randn_like(q), dim=-1)
    decay, beta = torch.rand(2, 2, 21, 2, dtype=torch.float64)
    inputs = [q, k, v, torch.randn(2, 21, 2, levels, dtype=torch.float64), -decay, beta]
    inputs = [x.requires_grad_() for x in inputs]
    wanted = log_linear_attention_definition(*inputs)
    state, outputs = nothing_seen(v, 4), []
    for part in (slice(0, 5), slice(5, 6), slice(6, 21)):
        q, k, v, scales, decay, beta = (x[:, part] for x in inputs)
        options = {"log_decay": decay, "scales": scales, "beta": beta, "chunk_size": size}
        y, *state = log_linear_attention(q, k, v, *state, **options)
        outputs.append(y)
    y = torch.cat(outputs, 1)
    same(y, wanted)
    found, given = (torch.autograd.grad(x.square().sum(), inputs) for x in (y, wanted))
    for a, b in zip(found, given, strict=True):
        same(a, b, 1e-9)


@pytest.mark.parametrize("compute", ["definition", 1, 4, 64])
def test_mesa_net(compute):
    """The exact solution; theirs by conjugate gradients stalls at 1e-5, by a term in its denominators."""
    g = golden("27_mesa_net")
    names = ("q", "k", "v", "beta", "g", "lamb", "Hkk0", "Hkv0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, beta, decay, ridge, *state = inputs.values()
    outputs = {}
    for suffix, begin in (("", [torch.zeros_like(x) for x in state]), ("_from_state", state)):
        if compute == "definition":
            found = mesa_definition(q, k, v, beta, decay, ridge, *begin)
        else:
            options = {"beta": beta, "log_decay": decay, "ridge": ridge, "chunk_size": compute}
            found = mesa(q, k, v, *begin, **options)
        outputs |= {f"{n}{suffix}": x for n, x in zip(("o", "Hkk", "Hkv"), found, strict=True)}
    check(g, inputs, outputs)
    same(outputs["o_from_state"], g["out.o_cg30_from_state"], 1e-3)


def test_decay_by_rows_and_columns():
    """Token by token: what is left of each earlier one, by the rows and the columns between."""
    mixer = LASAD(8, heads=2, columns=3, before=1).double()
    x = torch.randn(1, 11, 8, dtype=torch.float64)
    row, column = (torch.arange(11) - 1).div(3, rounding_mode="floor"), (torch.arange(11) - 1) % 3
    q, k, v = (part.unflatten(2, (2, 4))[0] for part in mixer.input(x).chunk(3, -1))
    angles = column[:, None] * torch.tensor([1.0, 0.1], dtype=torch.float64)
    q, k = (rotary(part.transpose(0, 1), angles).transpose(0, 1) for part in (q, k))
    by_row, by_column = F.softplus(mixer.decay(x))[0].chunk(2, -1)
    outputs = []
    for t in range(11):
        y = torch.zeros(2, 4, dtype=torch.float64)
        for s in range(t + 1):
            between = range(s + 1, t + 1)
            rows = torch.stack([by_row[u] * (column[u] == 0) for u in between] or [0 * by_row[0]]).sum(0)
            columns = torch.stack([by_column[u] for u in between] or [0 * by_row[0]]).sum(0)
            seen = (row[s] == row[t]) * (-columns).exp()
            left = torch.stack(((-rows).exp(), seen), -1).repeat(1, 2)
            y = y + (q[t] * k[s] * left).sum(-1, keepdim=True) * v[s] / 2
        outputs.append(F.rms_norm(y, (4,), eps=1e-5).flatten())
    wanted = mixer.output(torch.stack(outputs)[None] * F.silu(mixer.gate(x)))
    same(mixer(x)[0], wanted)
