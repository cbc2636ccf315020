"""The recurrent mixers with the published weights give the published outputs and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer import LRU, RWKV4, RWKV7, S4D, Mamba, Mamba2, Retention
from caselli.mixer.lru import UnitState
from caselli.mixer.parts import ShiftedState
from caselli.mixer.s4d import INITIAL, initial_eigenvalues
from tests.reference.channel_mix import ChannelMix
from tests.reference.golden import golden

FORMS = ("parallel", "chunk", "step")


def same(found, wanted, tolerance=1e-10):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def load(module, **weights):
    """Every parameter by its name with dots; each must be given."""
    weights = {name.replace("__", "."): value.double() for name, value in weights.items()}
    module.double().load_state_dict(weights)
    return module


def part(vectors, prefix):
    return {key.removeprefix(prefix): value for key, value in vectors.items() if key.startswith(prefix)}


@pytest.mark.parametrize("form", FORMS)
def test_retention(form):
    """torchscale rescales before its norm, so its three forms differ by the norm's epsilon: ours has none."""
    g, heads = golden("02_msr_torchscale"), 4
    halves = torch.cat((torch.arange(0, 4, 2), torch.arange(1, 4, 2)))
    w = part(g, "weights.")

    def regrouped(weight):
        """Neighbouring pairs of channels → halves of a head."""
        return weight.unflatten(0, (heads, -1))[:, halves].flatten(0, 1)

    mixer = load(
        Retention(16, heads=heads, epsilon=0.0, chunk_size=5),
        query__weight=regrouped(w["q_proj.weight"]),
        key__weight=regrouped(w["k_proj.weight"]),
        value__weight=w["v_proj.weight"],
        gate__weight=w["g_proj.weight"],
        output__weight=w["out_proj.weight"],
    )
    prenorm = F.rms_norm(g["out.retention_parallel_prenorm"], (8,), eps=1e-30)
    gate = F.silu(g["in.x"] @ w["g_proj.weight"].T)
    same(mixer(g["in.x"], form=form)[0], (gate * prenorm.flatten(2)) @ w["out_proj.weight"].T)
    if form == "parallel":
        close = (mixer(g["in.x"])[0] - g["out.y_recurrent"]).abs().max()
        assert close < 0.05 * g["out.y_recurrent"].abs().max()


@pytest.mark.parametrize("form", FORMS)
def test_s4d(form):
    g = golden("11_s4d_kernels")
    w = part(g, "weights.s4d.")
    c = w["kernel.C"]
    mixer = load(
        S4D(3, state_size=16, chunk_size=7),
        skip=w["D"],
        output__weight=w["output_linear.0.weight"][..., 0],
        output__bias=w["output_linear.0.bias"],
        log_delta=w["kernel.log_dt"],
        log_real=w["kernel.log_A_real"],
        imaginary=w["kernel.A_imag"],
        c=torch.cat((c[..., 0], c[..., 1]), -1),
    )
    same(mixer.kernel(40), g["out.s4d.K"])
    same(mixer(g["in.u"].mT, form=form)[0].mT, g["out.s4d.y"])


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@pytest.mark.parametrize("initial", ["inv", "legs", "lin"])
def test_s4d_kernels(rule, initial):
    """Kernel, free response and state with the golden B folded into C; the state is then x / B."""
    g = golden("11_s4d_kernels")
    b, c = (torch.complex(g[f"in.{n}.re"], g[f"in.{n}.im"]) for n in "BC")
    a = torch.complex(g[f"out.init.diag-{initial}.A.re"], g[f"out.init.diag-{initial}.A.im"])
    mixer = S4D(3, state_size=16, discretisation=rule, chunk_size=9).double()
    folded = c[0] * b
    with torch.no_grad():
        mixer.log_delta.copy_(g["in.dt"].log())
        mixer.log_real.copy_((-a.real).log())
        mixer.imaginary.copy_(a.imag)
        mixer.c.copy_(torch.cat((folded.real, folded.imag), -1))
        state = torch.complex(g["in.state0.re"], g["in.state0.im"]) / b
        memory = torch.cat((state.real, state.imag), -1)
        name = f"out.diag-{initial}.{rule}"
        same(mixer.kernel(40), g[f"{name}.K"][0], 1e-9)
        y, last = mixer._chunks(g["in.u"].mT, memory, None, 9)
        same(y.mT, g[f"{name}.y_from_state0"][:, 0], 1e-9)
        last = torch.complex(*(x.contiguous() for x in last.chunk(2, -1))) * b
        same(last.real, g[f"{name}.next_state.re"], 1e-9)
        same(last.imag, g[f"{name}.next_state.im"], 1e-9)


@pytest.mark.parametrize("initial", ["inv", "legs", "lin"])
def test_dss_kernels(initial):
    g = golden("11_s4d_kernels")
    b, c = (torch.complex(g[f"in.{n}.re"], g[f"in.{n}.im"]) for n in "BC")
    a = torch.complex(g[f"out.init.diag-{initial}.A.re"], g[f"out.init.diag-{initial}.A.im"])
    mixer = S4D(3, state_size=16, discretisation="dss", summed=40).double()
    folded = c[0] * b
    with torch.no_grad():
        mixer.log_delta.copy_(g["in.dt"].log())
        mixer.log_real.copy_((-a.real).log())
        mixer.imaginary.copy_(a.imag)
        mixer.c.copy_(torch.cat((folded.real, folded.imag), -1))
    same(mixer.kernel(40), g[f"out.diag-{initial}.dss.K"][0], 1e-9)


@pytest.mark.parametrize("initial", INITIAL)
def test_s4d_initial_eigenvalues(initial):
    g, found = golden("11_s4d_kernels"), initial_eigenvalues(initial, 16)
    same(found.real.double(), g[f"out.init.diag-{initial}.A.re"], 1e-5)
    same(
        found.imag.double().abs().sort().values, g[f"out.init.diag-{initial}.A.im"].abs().sort().values, 1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_lru(form):
    g = golden("12_lru")
    w = part(g, "weights.")
    mixer = load(
        LRU(4, state_size=6, chunk_size=4),
        nu=w["nu_log"],
        theta=w["theta_log"],
        log_gamma=w["gamma_log"],
        b=torch.cat((w["B_re"], w["B_im"])),
        c=torch.cat((w["C_re"], w["C_im"]), 1),
        skip=w["D"],
    )
    x = g["in.x"][None].clone().requires_grad_()
    y, _ = mixer(x, form=form)
    same(y[0], g["out.y"])
    (y[0] * g["cot.y"]).sum().backward()
    same(x.grad[0], g["grad.x"])
    same(mixer.nu.grad, g["grad.weights.nu_log"])
    same(mixer.theta.grad, g["grad.weights.theta_log"])
    same(mixer.log_gamma.grad, g["grad.weights.gamma_log"])
    same(mixer.b.grad, torch.cat((g["grad.weights.B_re"], g["grad.weights.B_im"])))
    same(mixer.c.grad, torch.cat((g["grad.weights.C_re"], g["grad.weights.C_im"]), 1))
    begin = UnitState(torch.cat((g["in.h0.re"], g["in.h0.im"]))[None])
    y, state = mixer(x, begin, form=form)
    same(y[0], g["out.y_from_state_numpy"])
    last = torch.cat((g["out.h_last_from_state_numpy.re"], g["out.h_last_from_state_numpy.im"]))
    same(state.memory[0], last)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first_layer", [True, False])
def test_rwkv7(form, first_layer):
    g = golden("06_rwkv7_time_mixing_numpy")
    w = part(g, "weights.")
    residual = {} if first_layer else {
        "residual__into": w["Wv1"], "residual__out": w["Wv2"], "residual__bias": w["v_bias"]
    }  # fmt: skip
    mixer = load(
        RWKV7(8, heads=2, rank=3, value_residual=not first_layer, chunk_size=2),
        shares=torch.stack([1 - w[f"m{n}"] for n in "rwkvag"]),
        decay__into=w["Ww1"],
        decay__out=w["Ww2"],
        decay__bias=w["w_bias"],
        rate__into=w["Wa1"],
        rate__out=w["Wa2"],
        rate__bias=w["a_bias"],
        gate_in=w["Wg1"],
        gate_out=w["Wg2"],
        key_scale=w["k_k"],
        key_rate=w["k_a"],
        bonus=w["r_k"],
        key__weight=w["Wk"],
        value__weight=w["Wv"],
        receptance__weight=w["Wr"],
        output__weight=w["Wo"],
        norm__weight=w["ln_w"],
        norm__bias=w["ln_b"],
        **residual,
    )
    state = ShiftedState(g["in.last_x0"][None], g["in.S0"].mT[None])
    x = g["in.x"][None]
    if first_layer:
        y, state = mixer(x, state, form=form)
    else:
        y, state = mixer.mix(x, state, None, 2, first_value=g["in.v0"][None])
    suffix = "_first_layer" if first_layer else ""
    same(y[0], g[f"out.y{suffix}"])
    same(state.memory[0].mT, g[f"out.S{suffix}"])


def mamba(w):
    return load(
        Mamba(16, state_size=4, delta_rank=3, chunk_size=5),
        input__weight=w["in_proj.weight"],
        convolution__weight=w["conv1d.weight"][:, 0],
        convolution__bias=w["conv1d.bias"],
        select__weight=w["x_proj.weight"],
        delta__weight=w["dt_proj.weight"],
        delta__bias=w["dt_proj.bias"],
        log_a=w["A_log"],
        skip=w["D"],
        output__weight=w["out_proj.weight"],
    )


def mamba2(w):
    return load(
        Mamba2(16, head_width=8, state_size=4, groups=2, chunk_size=5),
        input__weight=w["in_proj.weight"],
        convolution__weight=w["conv1d.weight"][:, 0],
        convolution__bias=w["conv1d.bias"],
        delta_bias=w["dt_bias"],
        log_a=w["A_log"],
        skip=w["D"],
        norm=w["norm.weight"],
        output__weight=w["out_proj.weight"],
    )


class MambaModel(nn.Module):
    """Norm, mixer and residual, twice, between an embedding and a head."""

    def __init__(self, weights, build):
        super().__init__()
        self.weights = {key: value.double() for key, value in weights.items()}
        self.mixers = nn.ModuleList(build(part(weights, f"backbone.layers.{i}.mixer.")) for i in (0, 1))

    def forward(self, tokens, states=(None, None), form="auto"):
        norm = lambda x, name: F.rms_norm(x, (16,), self.weights[name], eps=1e-5)  # noqa: E731
        x, lasts = F.embedding(tokens, self.weights["backbone.embeddings.weight"]), []
        for i, mixer in enumerate(self.mixers):
            y, state = mixer(norm(x, f"backbone.layers.{i}.norm.weight"), states[i], form=form)
            x = x + y
            lasts.append(state)
        return norm(x, "backbone.norm_f.weight") @ self.weights["lm_head.weight"].T, lasts


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "build"), [("mamba", mamba), ("mamba2", mamba2)])
def test_mamba_models(name, build, form):
    g = golden(f"21_hf_{name}")
    model, tokens = MambaModel(part(g, "weights."), build), g["in.input_ids"]
    logits, states = model(tokens, form=form)
    same(logits, g["out.logits"], 1e-8)
    same(logits, g["out.logits_stepwise"], 1e-8)
    for i, state in enumerate(states):
        memory = state.memory if name == "mamba" else state.memory.mT
        same(memory, g[f"out.cache.{i}.ssm"], 1e-8)
        same(state.inputs.mT, g[f"out.cache.{i}.conv"][..., 1:], 1e-8)
    F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    names = {
        "log_a": "A_log",
        "skip": "D",
        "convolution.bias": "conv1d.bias",
        "input.weight": "in_proj.weight",
    }
    for i, mixer in enumerate(model.mixers):
        for ours, theirs in names.items():
            same(mixer.get_parameter(ours).grad, g[f"grad.weights.backbone.layers.{i}.mixer.{theirs}"], 1e-7)


@pytest.mark.parametrize(("name", "build"), [("mamba", mamba), ("mamba2", mamba2)])
def test_mamba_models_sample(name, build):
    """The most likely tokens, one after the other from the state alone."""
    g = golden(f"21_hf_{name}")
    model, found = MambaModel(part(g, "weights."), build), []
    with torch.no_grad():
        logits, states = model(g["in.prompt"])
        for _ in range(16):
            found.append(logits[:, -1:].argmax(-1))
            logits, states = model(found[-1], states)
    assert torch.equal(torch.cat(found, 1), g["out.greedy_16"])


def rwkv4(w):
    attention, mix = part(w, "attention."), part(w, "feed_forward.")
    time = load(
        RWKV4(16, chunk_size=5),
        decay=attention["time_decay"],
        bonus=attention["time_first"],
        share_key=attention["time_mix_key"][0, 0],
        share_value=attention["time_mix_value"][0, 0],
        share_receptance=attention["time_mix_receptance"][0, 0],
        key__weight=attention["key.weight"],
        value__weight=attention["value.weight"],
        receptance__weight=attention["receptance.weight"],
        output__weight=attention["output.weight"],
    )
    channel = load(
        ChannelMix(16, hidden=64),
        share_key=mix["time_mix_key"][0, 0],
        share_receptance=mix["time_mix_receptance"][0, 0],
        key__weight=mix["key.weight"],
        value__weight=mix["value.weight"],
        receptance__weight=mix["receptance.weight"],
    )
    return time, channel


@pytest.mark.parametrize("form", FORMS)
def test_rwkv4_model(form):
    g = golden("21_hf_rwkv")
    w = {key: value.double() for key, value in part(g, "weights.").items()}

    def norm(x, name):
        return F.layer_norm(x, (16,), w[f"rwkv.{name}.weight"], w[f"rwkv.{name}.bias"], eps=1e-5)

    x = norm(F.embedding(g["in.input_ids"], w["rwkv.embeddings.weight"]), "blocks.0.pre_ln")
    for i in (0, 1):
        time, channel = rwkv4(part(w, f"rwkv.blocks.{i}."))
        y, state = time(norm(x, f"blocks.{i}.ln1"), form=form)
        x = x + y
        y, mixed = channel(norm(x, f"blocks.{i}.ln2"), form=form)
        x = x + y
        same(mixed.token, g["out.state.0"][..., i], 1e-8)
        same(state.token, g["out.state.1"][..., i], 1e-8)
        scale = (state.memory[:, 2] - g["out.state.4"][..., i]).exp()
        same(state.memory[:, 0] * scale, g["out.state.2"][..., i], 1e-8)
        same(state.memory[:, 1] * scale, g["out.state.3"][..., i], 1e-8)
    logits = norm(x, "ln_out") @ w["head.weight"].T
    same(logits, g["out.logits"], 1e-8)
    same(logits, g["out.logits_stepwise"], 1e-8)
