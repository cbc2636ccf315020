"""Common parts of the families of VQGAN: the configuration from the shapes, the three bottlenecks."""

from __future__ import annotations

import math

import torch

from caselli.errors import UserError
from caselli.interop.layout import Converted, Hints, count, refuse, shape_of
from caselli.tokenizer import TokenizerConfig
from caselli.tokenizer.config import FACTORS
from caselli.weights import Weights

GROUPS = 32
"""Groups of every published normalisation."""


def legacy(hints: Hints) -> dict[str, float]:
    """The loss weights of taming-transformers and diffusers: β on the codebook's term."""
    return {"commitment": 1.0, "codebook_weight": hints.beta()}


def vqgan_tokenizer(weights: Weights, hints: Hints, vq_options: dict) -> Converted[TokenizerConfig]:
    """A tokenizer from weights under Caselli's names, but for the attention's and the bottleneck's.

    Arguments:
        weights: encoder and decoder, and one of `codebook` (VQ), `gumbel_codebook` with `logits` (Gumbel),
            or none of them (KL).
        hints: settings that the file leaves open.
        vq_options: options of `VQ` beside the codebook's size.
    """
    weights = _with_outer_convolutions(_joined_attention(weights))
    if "codebook.weight" in weights:
        weights, quantizer, options = _vq(weights, vq_options)
    elif "gumbel_codebook.weight" in weights:
        weights, quantizer, options = _gumbel(weights)
    else:
        weights, quantizer, options = _kl(weights)
    return Converted(_config(weights, hints, quantizer, options), weights)


def _config(weights: Weights, hints: Hints, quantizer: str, options: dict) -> TokenizerConfig:
    levels = count(weights, "encoder.levels.")
    if not 1 <= levels <= len(FACTORS):
        refuse("missing", ["encoder.levels.0.steps.0.0.conv1.weight"])
    widths = [shape_of(weights, f"encoder.levels.{i}.steps.0.0.conv1.weight")[0] for i in range(levels)]
    _check_groups(widths, hints.groups or GROUPS)
    width = math.gcd(*widths)
    attention = [2**i for i in range(levels) if f"encoder.levels.{i}.steps.0.1.norm.weight" in weights]
    first, channels = shape_of(weights, "encoder.first.weight")[:2]
    return TokenizerConfig(
        architecture="vqgan",
        architecture_options={
            "groups": hints.groups or GROUPS,
            "first_width": first,
            "encoded_width": shape_of(weights, "encoder.last.weight")[0],
            "decoded_width": shape_of(weights, "decoder.first.weight")[1],
            "middle_attention": "encoder.middle.1.norm.weight" in weights,
            "latent_kernel": shape_of(weights, "encoder.to_latents.weight")[-1],
        },
        factor=2 ** (levels - 1),
        channels=channels,
        width=width,
        multipliers=tuple(w // width for w in widths),
        patch=1,
        blocks=count(weights, "encoder.levels.0.steps."),
        attention=tuple(attention),
        latent_width=shape_of(weights, "encoder.to_latents.weight")[0],
        quantizer=quantizer,
        quantizer_options=options,
    )


def _check_groups(widths: list[int], groups: int) -> None:
    if any(width % groups for width in widths):
        raise UserError(
            f"levels of {', '.join(map(str, widths))} channels and {groups} groups were given",
            "the number of groups of the normalisations, which divides each, was expected",
            "name it with --groups",
        )


def _joined_attention(weights: Weights) -> Weights:
    """Queries, keys and values in one layer; linear layers as the 1×1 convolutions that they are."""
    joined = {}
    for name, weight in weights.items():
        place, _, kind = name.rpartition(".")
        if place.endswith(".qkv"):
            joined[f"{place.removesuffix('.qkv')}.query_key_value.{kind}"] = weight
        elif place.endswith(".q"):
            stem = place.removesuffix(".q")
            names = [f"{stem}.{part}.{kind}" for part in "qkv"]
            refuse("missing", [part for part in names if part not in weights])
            joined[f"{stem}.query_key_value.{kind}"] = torch.cat([weights[part] for part in names])
        elif not place.endswith((".k", ".v")):
            joined[name] = weight
    attention = (".query_key_value.weight", ".output.weight")
    return {n: w[..., None, None] if n.endswith(attention) and w.dim() == 2 else w for n, w in joined.items()}


def _with_outer_convolutions(weights: Weights) -> Weights:
    """With 1×1 convolutions around the bottleneck that change nothing, where a checkpoint has none."""
    added = {}
    for layer, beside, axis in (
        ("encoder.to_latents", "encoder.last", 0),
        ("decoder.from_latents", "decoder.first", 1),
    ):
        if f"{layer}.weight" not in weights:
            width = shape_of(weights, f"{beside}.weight")[axis]
            added[f"{layer}.weight"] = torch.eye(width)[..., None, None]
            added[f"{layer}.bias"] = torch.zeros(width)
    return weights | added


def _vq(weights: Weights, options: dict) -> tuple[Weights, str, dict]:
    vectors = weights["codebook.weight"]
    rest = {name: value for name, value in weights.items() if name != "codebook.weight"}
    fixed = {"update": "gradient", "kmeans_steps": 0, "restart_threshold": 0.0}
    placed = rest | {"quantizer.codebook.vectors": vectors}
    return placed, "vq", {"codebook_size": len(vectors), **fixed, **options}


def _gumbel(weights: Weights) -> tuple[Weights, str, dict]:
    shape_of(weights, "logits.weight")
    names = {
        "gumbel_codebook.weight": "quantizer.codebook",
        "logits.weight": "quantizer.logits.weight",
        "logits.bias": "quantizer.logits.bias",
    }
    placed = {names.get(name, name): value for name, value in weights.items()}
    placed["quantizer.logits.weight"] = placed["quantizer.logits.weight"].flatten(1)
    return placed, "gumbel", {"codebook_size": len(placed["quantizer.codebook"]), "kl_weight": 5e-4}


def _kl(weights: Weights) -> tuple[Weights, str, dict]:
    """Means and log-variances come from the encoder, 2 d channels; the decoder takes d.

    The decoder's tokenizer width is 2 d too: the second half is zeros that meet zeros.
    """
    out, width = (
        shape_of(weights, "encoder.to_latents.weight")[0],
        shape_of(weights, "decoder.from_latents.weight")[1],
    )
    if out != 2 * width:
        raise UserError(
            f"an encoder of {out} channels and a decoder of {width}, without a codebook, were given",
            "twice as many in the encoder, means and variances, were expected",
            "is --from the right family?",
        )
    inner = weights["decoder.from_latents.weight"]
    bottleneck = {
        "quantizer.project_in.weight": torch.eye(out),
        "quantizer.project_in.bias": torch.zeros(out),
        "quantizer.project_out.weight": torch.eye(out)[:, :width].clone(),
        "quantizer.project_out.bias": torch.zeros(out),
        "decoder.from_latents.weight": torch.cat((inner, torch.zeros_like(inner)), 1),
    }
    return weights | bottleneck, "gaussian", {"code_width": width}
