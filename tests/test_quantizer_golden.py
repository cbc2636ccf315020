"""Quantizers against vectors that the field's own implementations gave."""

from __future__ import annotations

import pathlib

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from caselli.quantizer import BSQ, FSQ, LFQ, VQ, Grouped, Residual, SimVQ

GOLDEN = pathlib.Path(__file__).parent / "golden"
VQ_FILES = {
    "19_vq_ste": {},
    "19_vq_rotation": {"gradient": "rotation"},
    "19_vq_cosine": {"distance": "cosine"},
}
PLAIN = {"kmeans_steps": 0, "restart_threshold": 0, "warmup": 0}


def golden(name):
    return load_file(GOLDEN / f"{name}.safetensors")


def close(ours, theirs, tolerance=1e-9):
    assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def sequence(x):
    """`B n d` as the reference has it, to `B D *S`."""
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


def set_codebook(quantizer, vectors, **statistics):
    quantizer.codebook.vectors.data.copy_(vectors)
    for name, value in statistics.items():
        getattr(quantizer.codebook, name).copy_(value)


def gradients(outputs, cotangents, inputs):
    total = sum((output * cotangent).sum() for output, cotangent in zip(outputs, cotangents, strict=True))
    return torch.autograd.grad(total, inputs)


@pytest.mark.parametrize("name", VQ_FILES)
def test_vector_quantization_with_moving_averages(name):
    g = golden(name)
    quantizer = VQ(5, codebook_size=8, decay=0.8, commitment=1.0, **PLAIN, **VQ_FILES[name]).double()
    set_codebook(
        quantizer,
        g["in.codebook.embed"],
        counts=g["in.codebook.cluster_size"],
        sums=g["in.codebook.embed_avg"],
    )
    x = g["in.x"].requires_grad_()
    evaluated = quantizer.eval()(sequence(x))
    close(channels_last(evaluated.latents), g["out.quantize_eval"])
    assert torch.equal(evaluated.codes, g["out.indices"])
    quantized = quantizer.train()(sequence(x))
    close(channels_last(quantized.latents), g["out.quantize_train"])
    close(quantized.loss, g["out.loss"])
    outputs = channels_last(quantized.latents), quantized.loss
    close(gradients(outputs, (g["cot.quantize_train"], g["cot.loss"]), x)[0], g["grad.x"])
    close(quantizer.codebook.vectors, g["out.after_one_step.embed"])
    close(quantizer.codebook.counts, g["out.after_one_step.cluster_size"])
    close(quantizer.codebook.sums, g["out.after_one_step.embed_avg"])
    for batch in g["in.x_steps_2_3"]:
        quantizer(sequence(batch))
    close(quantizer.codebook.vectors, g["out.after_three_steps.embed"])
    close(quantizer.codebook.counts, g["out.after_three_steps.cluster_size"])


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("fixed", {"commitment": 0.25, "codebook_weight": 1.0}),
        ("legacy", {"commitment": 1.0, "codebook_weight": 0.25}),
    ],
)
def test_vector_quantization_by_gradient_of_taming(kind, weights):
    g = golden("16_taming_vectorquantizer2")
    quantizer = VQ(5, codebook_size=9, update="gradient", **weights, **PLAIN).double()
    set_codebook(quantizer, g["in.codebook"])
    z = g["in.z"].requires_grad_()
    quantized = quantizer(z)
    close(quantized.latents, g[f"out.{kind}.z_q"])
    close(quantized.loss, g[f"out.{kind}.loss"])
    assert torch.equal(quantized.codes, g[f"out.{kind}.indices"])
    close(quantizer.decode(quantized.codes), g["out.codebook_entry"])
    outputs, cotangents = (quantized.latents, quantized.loss), (g[f"cot.{kind}.z_q"], g[f"cot.{kind}.loss"])
    by_z, by_codebook = gradients(outputs, cotangents, (z, quantizer.codebook.vectors))
    close(by_z, g[f"grad.{kind}.z"])
    close(by_codebook, g[f"grad.{kind}.codebook"])


@pytest.mark.parametrize("kind", ["", ".sym", ".paper"])
@pytest.mark.parametrize("levels", [(3, 4), (8, 6, 5), (8, 5, 5, 5)])
def test_finite_scalar_quantization(levels, kind):
    g, name = golden("19_fsq"), "x".join(map(str, levels))
    key, of = name + kind, name + kind.replace(".paper", "")
    options = {".sym": {"symmetric": True}, ".paper": {"published": True}}.get(kind, {})
    quantizer = FSQ(len(levels), levels=levels, whitening=0, **options).double()
    z = g[f"in.{of}.z"].requires_grad_()
    quantized = quantizer(sequence(z))
    close(channels_last(quantized.latents), g[f"out.{key}.codes"])
    assert torch.equal(quantized.codes, g[f"out.{key}.indices"].long())
    by_z = gradients([channels_last(quantized.latents)], [g[f"cot.{key}.codes"]], z)[0]
    close(by_z, g[f"grad.{key}.z"])
    first = g[f"out.{of}.codebook_first60"]
    close(quantizer.decode(torch.arange(len(first))), first)


def lookup_free(kind):
    """The reference clamps probabilities at 1e-5 inside its logarithms; ours are exact."""
    if kind == "plain":
        return LFQ(4, codebook_size=16)
    if kind == "scaled":
        return LFQ(4, codebook_size=16, scale=0.5)
    if kind == "spherical":
        return BSQ(4, codebook_size=16, entropy_weight=0.1, commitment=0.25)
    return Grouped(8, quantizer="lfq", options={"codebook_size": 16}, groups=2)


@pytest.mark.parametrize("kind", ["plain", "scaled", "spherical", "two_codebooks"])
def test_binary_quantization(kind):
    g = {name.replace(f".{kind}", ""): value for name, value in golden("19_lfq").items()}
    quantizer, x = lookup_free(kind).double(), g["in.x"].requires_grad_()
    quantized = quantizer(sequence(x))
    codes = g["out.indices"] if kind != "two_codebooks" else sequence(g["out.indices"])
    assert torch.equal(quantized.codes, codes)
    close(channels_last(quantized.latents), g["out.quantized"])
    close(channels_last(quantizer.decode(codes)), g["out.from_indices"])
    close(quantized.metrics["sample_entropy"], g["out.per_sample_entropy"], 2e-4)
    close(quantized.metrics["codebook_entropy"], g["out.batch_entropy"], 2e-4)
    close(quantized.metrics["commitment"], g["out.commitment"])
    close(quantized.loss, g["out.aux_loss"], 2e-5)
    outputs = channels_last(quantized.latents), quantized.loss
    close(gradients(outputs, (g["cot.quantized"], g["cot.aux_loss"]), x)[0], g["grad.x"], 2e-4)
    close(channels_last(quantizer.eval()(sequence(x)).latents), g["out.quantized_eval"])
    if kind in ("plain", "scaled"):
        close(quantizer.decode(torch.arange(16)), g["out.codebook"])


@pytest.mark.parametrize(("kind", "gradient"), [("ste", "straight_through"), ("rotation", "rotation")])
def test_codebook_through_one_linear_layer(kind, gradient):
    g = golden("19_simvq")
    quantizer = SimVQ(5, codebook_size=12, code_width=None, gradient=gradient, fitted_start=False).double()
    quantizer.frozen.copy_(g["in.frozen_codebook"])
    quantizer.codebook_map.weight.data.copy_(g["in.W"])
    x = g["in.x"].requires_grad_()
    quantized = quantizer(sequence(x))
    assert torch.equal(quantized.codes, g[f"out.{kind}.indices"])
    close(channels_last(quantized.latents), g[f"out.{kind}.quantized"])
    close(quantized.loss, g[f"out.{kind}.loss"])
    outputs = channels_last(quantized.latents), quantized.loss
    cotangents = g[f"cot.{kind}.quantized"], g[f"cot.{kind}.loss"]
    by_x, by_map = gradients(outputs, cotangents, (x, quantizer.codebook_map.weight))
    close(by_x, g[f"grad.{kind}.x"])
    close(by_map, g[f"grad.{kind}.W"])


def with_losses(stages):
    """Collects each stage's loss, which the wrapper only gives joined."""
    losses = []
    for stage in stages:
        stage.register_forward_hook(lambda module, given, quantized: losses.append(quantized.loss))
    return losses


def test_residual_quantization():
    g = golden("19_residual_vq")
    options = {"codebook_size": 8, "decay": 0.8, "commitment": 1.0, **PLAIN}
    quantizer = Residual(5, options=options, stages=3).double()
    for index, stage in enumerate(quantizer.stages):
        set_codebook(
            stage,
            g[f"in.codebook.{index}.embed"],
            counts=g[f"in.codebook.{index}.cluster_size"],
            sums=g[f"in.codebook.{index}.embed_avg"],
        )
    x = g["in.x"].requires_grad_()
    evaluated = quantizer.eval()(sequence(x))
    close(channels_last(evaluated.latents), g["out.quantize_eval"])
    assert torch.equal(channels_last(evaluated.codes), g["out.indices"])
    close(channels_last(quantizer.decode(evaluated.codes)), g["out.from_indices"])
    losses = with_losses(quantizer.stages)
    quantized = quantizer.train()(sequence(x))
    close(channels_last(quantized.latents), g["out.quantize_train"])
    close(torch.stack(losses), g["out.losses"])
    close(quantized.loss, g["out.losses"].sum())
    outputs = channels_last(quantized.latents), torch.stack(losses)
    close(gradients(outputs, (g["cot.quantize_train"], g["cot.losses"]), x)[0], g["grad.x"])
    for index, stage in enumerate(quantizer.stages):
        close(stage.codebook.vectors, g[f"out.after_one_step.{index}.embed"])
        close(stage.codebook.counts, g[f"out.after_one_step.{index}.cluster_size"])


def test_grouped_residual_quantization():
    g = golden("19_grouped_residual_vq")
    stage = {"codebook_size": 6, "commitment": 1.0, **PLAIN}
    options = {"options": stage, "stages": 2}
    quantizer = Grouped(8, quantizer="residual", options=options, groups=2).double()
    stages = [stage for group in quantizer.groups for stage in group.stages]
    for index, stage in enumerate(stages):
        set_codebook(stage, g[f"in.codebook.g{index // 2}.{index % 2}.embed"])
    x = g["in.x"].requires_grad_()
    evaluated = quantizer.eval()(sequence(x))
    close(channels_last(evaluated.latents), g["out.quantize_eval"])
    codes = g["out.indices"].permute(1, 0, 3, 2).flatten(1, 2)
    assert torch.equal(evaluated.codes, codes)
    losses = with_losses(stages)
    quantized = quantizer.train()(sequence(x))
    close(channels_last(quantized.latents), g["out.quantize_train"])
    close(torch.stack(losses).view(2, 2), g["out.losses"])
    outputs = channels_last(quantized.latents), torch.stack(losses).view(2, 2)
    close(gradients(outputs, (g["cot.quantize_train"], g["cot.losses"]), x)[0], g["grad.x"])


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_entropies_of_llamagen(chunk, monkeypatch):
    """As its tokenizer has them: distances on the sphere at temperature 0.01, 10⁻⁵ inside one logarithm."""
    monkeypatch.setattr("caselli.quantizer.entropy.CHUNK", chunk)
    torch.manual_seed(0)
    quantizer = VQ(4, codebook_size=6, distance="cosine", update="gradient", entropy_weight=0.1, **PLAIN)
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    plain = VQ(4, codebook_size=6, distance="cosine", update="gradient", **PLAIN).double()
    plain.load_state_dict(quantizer.double().state_dict())
    found = quantizer(x).loss - plain(x).loss
    z, e = (torch.nn.functional.normalize(y, dim=-1) for y in (x.mT.flatten(0, 1), plain.codebook.vectors))
    p = (-torch.cdist(z, e).square() / 0.01).softmax(1)
    mean = p.mean(0)
    expected = 0.1 * (-(p * p.log()).sum(1).mean() + (mean * (mean + 1e-5).log()).sum())
    close(found, expected, 1e-5)
    pairs = (torch.autograd.grad(y, x, retain_graph=True)[0] for y in (found, expected))
    close(*pairs, 1e-3)
