"""The published outputs and gradients of GAU, FLASH and the rotary conventions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from caselli.mixer import MIXERS
from caselli.ops import rotary, rotary_angles
from tests.reference.golden import golden
from tests.reference.rotary import grid_rotary_angles, rotary_interleaved, xpos_scales

WIDTH, KEY_WIDTH, GROUP = 12, 8, 4
UNITS = {
    "gau": ({"normalisation": "constant", "relative_bias": True}, "offsetscale", "to_out.0"),
    "flash": ({"group": GROUP}, "qk_offset_scale", "to_out"),
}


def published_unit(name, causal, vectors):
    """Our mixer with the published weights, and for each parameter the published gradient.

    The published GAU divides the bias by n as well and multiplies it by √E; FLASH adds it after the division
    and multiplies it by √s: both are a matter of the table's scale here.
    """
    options, offsets, output = UNITS[name]
    length = vectors["in.x"].shape[1]
    scale = WIDTH**0.5 / length if name == "gau" else KEY_WIDTH**0.5
    if name == "gau":
        options = {**options, "constant": length}
    else:
        options = {**options, "normalisation": "group" if causal else "length"}
    mixer = MIXERS[name](
        width=WIDTH, expansion=2, key_width=KEY_WIDTH, rotary_base=0, causal=causal, **options
    ).double()

    def named(prefix):
        weights = {
            key.removeprefix(prefix): value for key, value in vectors.items() if key.startswith(prefix)
        }
        return {
            "gamma": weights[f"{offsets}.gamma"],
            "beta": weights[f"{offsets}.beta"],
            "distance_bias": weights["rel_pos_bias.relative_attention_bias.weight"][:, 0],
            "input.weight": torch.cat((weights["to_hidden.0.weight"], weights["to_qk.0.weight"])),
            "input.bias": torch.cat((weights["to_hidden.0.bias"], weights["to_qk.0.bias"])),
            "output.weight": weights[f"{output}.weight"],
            "output.bias": weights[f"{output}.bias"],
        }

    weights, gradients = named("weights."), named("grad.weights.")
    weights["distance_bias"] = weights["distance_bias"] * scale
    gradients["distance_bias"] = gradients["distance_bias"] / scale
    mixer.load_state_dict(weights)
    return mixer, gradients


def hide_last_values(mixer, count, monkeypatch):
    """The vectors' mask: the last tokens are seen by nobody."""
    project = mixer.project

    def masked(x, offset):
        v, gate, vectors = project(x, offset)
        return F.pad(v[:, :-count], (0, 0, 0, count)), gate, vectors

    monkeypatch.setattr(mixer, "project", masked)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", UNITS)
def test_published_gated_units(name, causal, monkeypatch):
    vectors = golden(f"13_{name}_{'causal' if causal else 'noncausal'}")
    mixer, gradients = published_unit(name, causal, vectors)
    x = vectors["in.x"].requires_grad_()
    norm = (vectors["weights.norm.weight"], vectors["weights.norm.bias"])

    def layer(starts=None):
        return mixer(F.layer_norm(x, (WIDTH,), *norm), starts=starts)[0] + x

    y = layer()
    hide_last_values(mixer, 3, monkeypatch)
    y_masked = layer(torch.zeros(x.shape[:2], dtype=torch.bool))  # packed rows always project by `project`
    torch.testing.assert_close(y, vectors["out.y"], rtol=0, atol=1e-12)
    torch.testing.assert_close(y_masked, vectors["out.y_masked"], rtol=0, atol=1e-12)
    loss = (y * vectors["cot.y"]).sum() + (y_masked * vectors["cot.y_masked"]).sum()
    parameters = dict(mixer.named_parameters())
    found = torch.autograd.grad(loss, [x, *(parameters[key] for key in gradients)])
    for ours, published in zip(found, [vectors["grad.x"], *gradients.values()], strict=True):
        torch.testing.assert_close(ours, published, rtol=0, atol=1e-10)


def test_published_rotations():
    vectors = golden("15_rotary")
    q, k = vectors["in.q"], vectors["in.k"]
    positions = torch.arange(7, dtype=torch.float64)
    angles = rotary_angles(positions, 8)
    torch.testing.assert_close(rotary(q, angles), vectors["out.half.q"])
    torch.testing.assert_close(rotary(k, angles), vectors["out.half.k"])
    torch.testing.assert_close(rotary_interleaved(q, angles), vectors["out.interleaved.q"])
    offset = rotary_interleaved(q, rotary_angles(positions + 5, 8))
    torch.testing.assert_close(offset, vectors["out.interleaved.q_offset5"])
    partial = torch.cat((rotary_interleaved(q[..., :4], rotary_angles(positions, 4)), q[..., 4:]), -1)
    torch.testing.assert_close(partial, vectors["out.interleaved.q_partial4"])
    scale = xpos_scales(positions - 3, 8).repeat_interleave(2, -1)
    torch.testing.assert_close(rotary_interleaved(q, angles) * scale, vectors["out.interleaved.xpos_q"])
    torch.testing.assert_close(rotary_interleaved(k, angles) / scale, vectors["out.interleaved.xpos_k"])


@pytest.mark.parametrize("name", ["gau", "flash_quad", "flash"])
def test_gated_units_turn_the_halves(name):
    """As the weights of trained ones have them: another pairing would read these in another order."""
    mixer = MIXERS[name](WIDTH, key_width=KEY_WIDTH).double()
    x = torch.randn(2, 7, WIDTH, dtype=torch.float64)
    z = F.silu(mixer.input(x)[..., -KEY_WIDTH:])
    angles = rotary_angles(torch.arange(7, dtype=torch.float64), KEY_WIDTH)
    for found, gamma, beta in zip(mixer.project(x, 0)[2], *mixer.offsets(), strict=True):
        torch.testing.assert_close(found, rotary(gamma * z + beta, angles))


def test_published_grid_rotation():
    """The published class token in front is not rotated but zeroed; the 3 × 3 codes behind it are ours."""
    vectors = golden("15_rotary")
    index = torch.arange(9, dtype=torch.float64)
    angles = grid_rotary_angles(torch.stack((index // 3, index % 3), 1), 8)
    published = vectors["out.llamagen2d.freqs_cis"][1:].double()
    torch.testing.assert_close(torch.stack((angles.cos(), angles.sin()), -1), published, rtol=0, atol=1e-6)
    x = vectors["in.llamagen2d.x"][:, 1:].transpose(1, 2)
    turned = rotary_interleaved(x, angles).transpose(1, 2)
    torch.testing.assert_close(turned, vectors["out.llamagen2d.x_rot"][:, 1:], rtol=0, atol=1e-6)


def test_published_xpos():
    vectors = golden("15_xpos_torchscale")
    length, offset = 9, 4
    for start, suffix in ((0, ""), (offset, "_offset")):
        positions = torch.arange(start, start + length, dtype=torch.float64)
        angles = rotary_angles(positions, 8)
        centre = -(-(length + start) // 2)
        scale = xpos_scales(positions - centre, 8).repeat_interleave(2, -1)
        q = rotary_interleaved(vectors["in.q"], angles) * scale
        k = rotary_interleaved(vectors["in.k"], angles) / scale
        torch.testing.assert_close(q, vectors[f"out.q_rot{suffix}"])
        torch.testing.assert_close(k, vectors[f"out.k_rot{suffix}"])
        if not start:
            torch.testing.assert_close(q @ k.mT, vectors["out.scores"])


@pytest.mark.parametrize("causal", [True, False])
def test_further_options_of_flash(causal):
    """As FLASH-pytorch has them, written anew: shifted tokens, few turned channels, groups by themselves."""
    torch.manual_seed(0)
    group, length, turned = 4, 11, 4
    options = {"normalisation": "group" if causal else "length", "causal": causal, "relative_bias": False}
    mixer = MIXERS["flash"](
        WIDTH, key_width=KEY_WIDTH, group=group, shift=True, turned=turned, joined=False, **options
    ).double()
    x = torch.randn(2, length, WIDTH, dtype=torch.float64)
    half = WIDTH // 2
    moved = torch.cat((F.pad(x[:, :-1, :half], (0, 0, 1, 0)), x[..., half:]), -1)
    inner = mixer.value_width
    v, gate, z = F.silu(mixer.input(moved)).split((inner, inner, KEY_WIDTH), -1)
    first = list(range(turned // 2)) + list(range(KEY_WIDTH // 2, KEY_WIDTH // 2 + turned // 2))
    angles = rotary_angles(torch.arange(length, dtype=torch.float64), turned)
    vectors = []
    for gamma, beta in zip(mixer.gamma, mixer.beta, strict=True):
        vector = gamma * z + beta
        vectors.append(vector.index_copy(-1, torch.tensor(first), rotary(vector[..., first], angles)))
    pad = (0, 0, 0, -length % group)
    q, linear_q, k, linear_k, v = (F.pad(y, pad).unflatten(1, (-1, group)) for y in (*vectors, v))
    scores = (q @ k.mT / group).relu().square()
    y = (scores.tril() if causal else scores) @ v
    if causal:
        before = (linear_k.mT @ v / group).cumsum(1)
        y = y + linear_q @ F.pad(before[:, :-1], (0, 0, 0, 0, 1, 0))
    else:
        y = y + linear_q @ (linear_k.mT @ v / length)
    expected = mixer.output(gate * y.flatten(1, 2)[:, :length])
    torch.testing.assert_close(mixer(x)[0], expected, rtol=0, atol=1e-12)
