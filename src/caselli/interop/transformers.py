"""Language models of the `transformers` library over codes: GPT-2, Mamba and Mamba-2."""

from __future__ import annotations

import math
import re

from caselli.errors import UserError
from caselli.interop.layout import Codes, Converted, Hints, Names, PriorFamily, count, shape_of
from caselli.interop.parts import depth_of, divided, expansion_of, heads_of, vocabulary
from caselli.prior import LayerConfig, PriorConfig
from caselli.weights import Weights

GPT2_NAMES = Names(
    places={
        "wte.": "code.",
        "wpe.": "position.",
        "h.#.ln_1.": "blocks.#.norm1.",
        "h.#.ln_2.": "blocks.#.norm2.",
        "h.#.attn.": "blocks.#.mixer.",
        "h.#.mlp.": "blocks.#.",
        "ln_f.": "norm.",
        "lm_head.": "head.",
    },
    parts={"c_proj": "output", "c_fc": "up"},
)
MAMBA_NAMES = Names(
    places={
        "embeddings.": "code.",
        "embedding.": "code.",
        "layers.#.norm.": "blocks.#.norm1.",
        "layers.#.mixer.A_log": "blocks.#.mixer.log_a",
        "layers.#.mixer.D": "blocks.#.mixer.skip",
        "layers.#.mixer.dt_bias": "blocks.#.mixer.delta_bias",
        "layers.#.mixer.norm.weight": "blocks.#.mixer.norm",
        "layers.#.mixer.": "blocks.#.mixer.",
        "norm_f.": "norm.",
        "lm_head.": "head.",
    },
    parts={
        "in_proj": "input",
        "conv1d": "convolution",
        "x_proj": "select",
        "dt_proj": "delta",
        "out_proj": "output",
    },
)
NO_LIMITS = ([0.0, math.inf], [0.0, {"__float__": "Infinity"}])
"""Limits of a step's length that change nothing, as versions of the library write them."""
BUFFER = re.compile(r"\.attn\.(bias|masked_bias)$")
"""Masks that old files of GPT-2 have among their weights."""


class GPT2(PriorFamily):
    """GPT-2 of transformers over codes: entries of its vocabulary behind the codes are labels, the last one
    starts a sequence without a label."""

    signs = ("h.0.attn.c_attn.weight", "wte.weight", "wpe.weight")
    own = ("transformer.", "")
    arithmetic = {
        "model_type": ("gpt2",),
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
    }

    @classmethod
    def positions(cls, weights: Weights) -> None:
        return None  # a table of 1024 says nothing

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights = {name.removeprefix("transformer."): w for name, w in weights.items()}
        weights = GPT2_NAMES.rename({n: w for n, w in weights.items() if not BUFFER.search(n)})
        weights = {
            re.sub(r"(blocks\.\d+)\.output\.", r"\1.down.", name): w.T if _is_layer(name) else w
            for name, w in weights.items()
        }
        width = shape_of(weights, "code.weight")[1]
        length, positions = codes.positions, shape_of(weights, "position.weight")[0]
        if positions < length:
            raise UserError(
                f"a prior of {positions} positions was given for {length} codes a picture",
                "a size that it was trained at was expected",
                "name it with --size",
            )
        weights["position.weight"] = weights["position.weight"][:length]
        weights = divided(weights, "c_attn", {"query": width, "key_value": -1})
        weights, classes = vocabulary(weights, codes)
        config = PriorConfig(
            mixer="attention",
            mixer_options={"heads": heads_of(hints, width), "rotary_base": 0.0, "bias": True},
            width=width,
            depth=depth_of(weights, count(weights, "blocks.")),
            expansion=expansion_of(weights, "blocks.0.up.weight", width),
            layer=LayerConfig(norm="layer_offset", epsilon=_epsilon(hints)),
        )
        return Converted(config, weights, classes)


class MambaLM(PriorFamily):
    """Mamba of transformers over codes; its vocabulary is read as that of GPT-2."""

    signs = ("layers.0.mixer.x_proj.weight", "layers.0.mixer.A_log", "norm_f.weight")
    foreign = ("cls_embed.",)
    own = ("backbone.", "")
    arithmetic = {"model_type": ("mamba",), "hidden_act": ("silu",)}

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights = mamba_names(weights)
        inner, states = shape_of(weights, "blocks.0.mixer.log_a")
        rank = shape_of(weights, "blocks.0.mixer.delta.weight")[1]
        options = {"state_size": states, "delta_rank": rank}
        return language_model("mamba", weights, hints, codes, inner, options)


class Mamba2LM(PriorFamily):
    """Mamba-2 of transformers over codes; its vocabulary is read as that of GPT-2."""

    signs = ("layers.0.mixer.dt_bias", "layers.0.mixer.norm.weight", "norm_f.weight")
    foreign = ("cls_embed.",)
    own = ("backbone.", "")
    arithmetic = {"model_type": ("mamba2",), "hidden_act": ("silu",), "time_step_limit": NO_LIMITS}

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights = mamba_names(weights)
        inner, options = mamba2_options(weights, hints)
        return language_model("mamba2", weights, hints, codes, inner, options)


def mamba2_options(weights: Weights, hints: Hints) -> tuple[int, dict]:
    """Channels inside a Mamba-2, and its options from the shapes."""
    inner = shape_of(weights, "blocks.0.mixer.norm")[0]
    heads, groups = shape_of(weights, "blocks.0.mixer.log_a")[0], hints.number("n_groups") or 1
    states = (shape_of(weights, "blocks.0.mixer.convolution.weight")[0] - inner) // (2 * groups)
    options = {"head_width": inner // heads, "state_size": states, "groups": groups}
    return inner, options | {"epsilon": _epsilon(hints)}


def language_model(
    mixer: str, weights: Weights, hints: Hints, codes: Codes, inner: int, options: dict
) -> Converted[PriorConfig]:
    """A stack of recurrent mixers, without an MLP and without positions."""
    width = shape_of(weights, "code.weight")[1]
    depth = depth_of(weights, count(weights, "blocks."))
    weights, classes = vocabulary(weights, codes)
    shared = {
        "expand": inner // width,
        "convolution": shape_of(weights, "blocks.0.mixer.convolution.weight")[1],
        "bias": "blocks.0.mixer.input.bias" in weights,
        "convolution_bias": "blocks.0.mixer.convolution.bias" in weights,
    }
    config = PriorConfig(
        mixer=mixer,
        mixer_options=shared | options,
        width=width,
        depth=depth,
        expansion=0.0,
        layer=LayerConfig(norm="rms", epsilon=_epsilon(hints), positions="none"),
    )
    return Converted(config, weights, classes)


def mamba_names(weights: Weights) -> Weights:
    """Caselli's names; the convolution's kernels without their middle axis."""
    weights = MAMBA_NAMES.rename({name.removeprefix("backbone."): w for name, w in weights.items()})
    return {n: w.flatten(1) if n.endswith("convolution.weight") else w for n, w in weights.items()}


def _is_layer(name: str) -> bool:
    """True for a weight that the library stores with its inputs first."""
    return name.endswith((".c_attn.weight", ".output.weight", ".up.weight"))


def _epsilon(hints: Hints) -> float:
    value = hints.settings.get("layer_norm_epsilon", 1e-5)
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise UserError(f"config.json has layer_norm_epsilon {value!r}", "a number below 1 was expected")
    return float(value)
