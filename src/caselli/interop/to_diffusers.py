"""A tokenizer of the published VQGAN as a folder that `diffusers.VQModel.from_pretrained` opens."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from caselli.errors import UserError
from caselli.files import write_tensors, write_text
from caselli.interop.diffusers import NAMES
from caselli.interop.layout import Names
from caselli.interop.target import Exportable, Target
from caselli.model import load
from caselli.tokenizer import Tokenizer
from caselli.tokenizer.base import level_widths
from caselli.weights import Weights

TOLERANCE = 1e-5
"""Largest difference of a picture's numbers, on [−1, 1]."""
OWN = Names(
    places={own: theirs for theirs, own in NAMES.places.items()},
    parts={
        "skip": "conv_shortcut",
        "convolution": "conv",
        "norm": "group_norm",
        **{part: f"to_{part}" for part in "qkv"},
        "output": "to_out.0",
    },
)
"""Names of Caselli's weights, and diffusers'."""
WEIGHTS, CONFIG = "diffusion_pytorch_model.safetensors", "config.json"


class ToDiffusers(Target):
    """A VQGAN's tokenizer as a folder of diffusers' VQModel."""

    name = "diffusers"

    def write(self, run: Exportable, folder: Path) -> str:
        model = load(run.folder)
        tokenizer, size = model.tokenizer, model.size
        _expect_served(tokenizer)
        write_tensors(folder / WEIGHTS, _renamed(tokenizer), {"format": "pt"})
        write_text(folder / CONFIG, json.dumps(_config(tokenizer, size), indent=2))
        if importlib.util.find_spec("diffusers") is None:
            return f"{folder}: not opened to compare, as diffusers is not installed"
        return f"{folder}: pictures differ from the run's by up to {_opened(tokenizer, size, folder):.0e}"


def _expect_served(tokenizer: Tokenizer) -> None:
    config, options = tokenizer.config, tokenizer.architecture
    given = f"a tokenizer {config.architecture} with quantizer {config.quantizer} was given"
    if config.architecture != "vqgan" or config.quantizer != "vq":
        raise UserError(given, "diffusers' VQModel is vqgan with vq", "try --to onnx")
    if tokenizer.quantizer.codebook.distance != "euclidean":
        raise UserError(f"{given}, with cosine distance", "Euclidean distance was expected", "try --to onnx")
    ends = {options.encoded_width or config.latent_width, options.decoded_width or config.latent_width}
    first = options.first_width or level_widths(config)[0]
    if len(ends) > 1 or first != level_widths(config)[0]:
        raise UserError(
            f"{given} whose outer convolutions have widths of their own",
            "equal widths inside both ends were expected",
            "try --to onnx",
        )


def _config(tokenizer: Tokenizer, size: int) -> dict[str, Any]:
    config, options = tokenizer.config, tokenizer.architecture
    widths = level_widths(config)
    attended = [2**level in config.attention for level in range(len(widths))]
    return {
        "_class_name": "VQModel",
        "act_fn": "silu",
        "in_channels": config.channels,
        "out_channels": config.channels,
        "block_out_channels": list(widths),
        "down_block_types": [f"{'Attn' * has}DownEncoderBlock2D" for has in attended],
        "up_block_types": [f"{'Attn' * has}UpDecoderBlock2D" for has in attended[::-1]],
        "layers_per_block": config.blocks,
        "latent_channels": options.encoded_width or config.latent_width,
        "mid_block_add_attention": options.middle_attention,
        "norm_num_groups": options.groups,
        "norm_type": "group",
        "num_vq_embeddings": tokenizer.quantizer.sizes[0],
        "vq_embed_dim": tokenizer.quantizer.code_width,
        "sample_size": size,
    }


def _renamed(tokenizer: Tokenizer) -> Weights:
    """The weights under diffusers' names, the quantizer's projections inside the convolutions beside it."""
    weights = {k: v for k, v in tokenizer.state_dict().items() if not k.startswith("quantizer.")}
    codebook = {"quantize.embedding.weight": tokenizer.quantizer.codebook.values()}
    own = tokenizer.state_dict()
    if "quantizer.project_in.weight" in own:
        into, out = (own[f"quantizer.project_{end}.weight"] for end in ("in", "out"))
        outer, inner = weights["encoder.to_latents.weight"], weights["decoder.from_latents.weight"]
        biases = {end: own[f"quantizer.project_{end}.bias"] for end in ("in", "out")}
        weights["encoder.to_latents.weight"] = torch.einsum("cd,dehw->cehw", into, outer)
        weights["encoder.to_latents.bias"] = into @ weights["encoder.to_latents.bias"] + biases["in"]
        weights["decoder.from_latents.weight"] = torch.einsum("edhw,dc->echw", inner, out)
        weights["decoder.from_latents.bias"] = (
            weights["decoder.from_latents.bias"] + inner[..., 0, 0] @ biases["out"]
        )
    return OWN.rename(_apart(weights)) | codebook


def _apart(weights: Weights) -> Weights:
    """Queries, keys and values in layers of their own, linear ones as diffusers has them."""
    apart: Weights = {}
    for name, weight in weights.items():
        place, _, kind = name.rpartition(".")
        if place.endswith(".query_key_value"):
            stem = place.removesuffix(".query_key_value")
            for part, own in zip("qkv", weight.chunk(3), strict=True):
                apart[f"{stem}.{part}.{kind}"] = own.flatten(1) if kind == "weight" else own
        else:
            joins = place.endswith(".output") and kind == "weight"
            apart[name] = weight.flatten(1) if joins else weight
    return apart


@torch.no_grad()
def _opened(tokenizer: Tokenizer, size: int, folder: Path) -> float:
    """Largest difference of a picture's numbers between the folder, opened by diffusers, and the tokenizer.

    Errors: `UserError` where it is too large; the files are removed.
    """
    from diffusers import VQModel

    model, source = VQModel.from_pretrained(folder), torch.Generator().manual_seed(0)
    x = torch.rand(2, tokenizer.config.channels, size, size, generator=source) * 2 - 1
    codes = tokenizer.encode(x)
    quantized = model.quantize.get_codebook_entry(codes.flatten(), (*codes.shape, -1))
    theirs = model.decode(quantized, force_not_quantize=True).sample.clamp(-1, 1)
    difference = (theirs - tokenizer.decode(codes)).abs().max().item()
    chosen = model.quantize(model.encode(x).latents)[2][2]
    if difference > TOLERANCE or (chosen != codes.flatten()).sum() > 1:
        for name in (WEIGHTS, CONFIG):
            (folder / name).unlink()
        raise UserError(
            f"diffusers gives other pictures, by up to {difference:.1e}, or other codes",
            f"{TOLERANCE:.0e} was expected",
            "the files were removed; try --to onnx",
        )
    return difference
