"""Quantizers against vectors that the field's own implementations gave."""

from __future__ import annotations

import pathlib

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from caselli.quantizer import FSQ, VQ

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


@pytest.mark.parametrize("kind", ["", ".sym"])
@pytest.mark.parametrize("levels", [(3, 4), (8, 6, 5), (8, 5, 5, 5)])
def test_finite_scalar_quantization(levels, kind):
    g, key = golden("19_fsq"), "x".join(map(str, levels)) + kind
    quantizer = FSQ(len(levels), levels=levels, symmetric=bool(kind)).double()
    z = g[f"in.{key}.z"].requires_grad_()
    quantized = quantizer(sequence(z))
    close(channels_last(quantized.latents), g[f"out.{key}.codes"])
    assert torch.equal(quantized.codes, g[f"out.{key}.indices"].long())
    by_z = gradients([channels_last(quantized.latents)], [g[f"cot.{key}.codes"]], z)[0]
    close(by_z, g[f"grad.{key}.z"])
    first = g[f"out.{key}.codebook_first60"]
    close(quantizer.decode(torch.arange(len(first))), first)
