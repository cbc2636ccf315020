"""AiM: a class-conditional Mamba-2 with adaptive normalisation."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.interop.layout import Codes, Converted, Hints, Names, PriorFamily, count, shape_of
from caselli.interop.parts import depth_of
from caselli.interop.transformers import MAMBA_NAMES, mamba2_options
from caselli.prior import LayerConfig, PriorConfig
from caselli.weights import Weights

NAMES = Names(
    places={
        "cls_embed.embedding_table.": "conditioner.label.",
        "embeddings.word_embeddings.": "code.",
        "embeddings.position_embeddings.": "position.",
        "layers.#.adaLN_modulation.1.": "blocks.#.modulation.project.",
        "norm_f.": "modulation.norm.0.",
        "final_layer.norm_final.": "modulation.norm.1.",
        "final_layer.adaLN_modulation.1.": "modulation.project.",
    }
    | {old: new for old, new in MAMBA_NAMES.places.items() if not old.startswith(("embedding", "norm_f"))},
    parts=MAMBA_NAMES.parts,
)
LAYER = LayerConfig(norm="rms", final_norms=2, modulation=True)


class AiM(PriorFamily):
    """AiM's Mamba-2 with labels; layers with a modulation of their own, not those shared by groups.

    Positions are those of its training; its sampler is one further by mistake.
    """

    signs = ("cls_embed.embedding_table.weight", "layers.0.mixer.dt_bias", "final_layer.norm_final.weight")
    own = ("backbone.", "")

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights = NAMES.rename({name.removeprefix("backbone."): w for name, w in weights.items()})
        weights = {n: w.flatten(1) if n.endswith("convolution.weight") else w for n, w in weights.items()}
        entries, width = shape_of(weights, "code.weight")
        if entries < codes.size:
            raise UserError(
                f"a prior over {entries} codes and a codebook of {codes.size} were given",
                "as many at least were expected",
            )
        inner, options = mamba2_options(weights, hints)
        place = weights["position.weight"]
        weights |= {
            "code.weight": weights["code.weight"][: codes.size],
            "head.weight": weights.get("head.weight", weights["code.weight"])[: codes.size],
            "position.weight": torch.cat((torch.zeros(1, width), place[: codes.positions - 1])),
        }
        config = PriorConfig(
            mixer="mamba2",
            mixer_options=options | {"expand": inner // width},
            width=width,
            depth=depth_of(weights, count(weights, "blocks.")),
            expansion=0.0,
            layer=LAYER,
        )
        return Converted(config, weights, shape_of(weights, "conditioner.label.weight")[0] - 1)
