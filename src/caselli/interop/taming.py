"""Checkpoints of taming-transformers: VQModel and GumbelVQ; latent diffusion's KL autoencoder too."""

from __future__ import annotations

from collections.abc import Sequence

from caselli.interop.layout import Converted, Hints, Names, TokenizerFamily, only, reverse
from caselli.interop.vqgan import legacy, vqgan_tokenizer
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

OUTER = {
    "quant_conv.": "encoder.to_latents.",
    "post_quant_conv.": "decoder.from_latents.",
    "quantize.embedding.": "codebook.",
    "encoder.conv_in.": "encoder.first.",
    "encoder.norm_out.": "encoder.norm.",
    "encoder.conv_out.": "encoder.last.",
    "decoder.conv_in.": "decoder.first.",
    "decoder.norm_out.": "decoder.norm.",
    "decoder.conv_out.": "decoder.last.",
}
"""Names that taming-transformers and LlamaGen share."""
PARTS = {"nin_shortcut": "skip", "proj_out": "output", "conv": "convolution"}
NAMES = Names(
    places=OUTER
    | {
        "quantize.embed.": "gumbel_codebook.",
        "quantize.proj.": "logits.",
        "encoder.down.#.block.#.": "encoder.levels.#.steps.#.0.",
        "encoder.down.#.attn.#.": "encoder.levels.#.steps.#.1.",
        "encoder.down.#.downsample.": "encoder.levels.#.resample.",
        "encoder.mid.block_1.": "encoder.middle.0.",
        "encoder.mid.attn_1.": "encoder.middle.1.",
        "encoder.mid.block_2.": "encoder.middle.2.",
        "decoder.mid.block_1.": "decoder.middle.0.",
        "decoder.mid.attn_1.": "decoder.middle.1.",
        "decoder.mid.block_2.": "decoder.middle.2.",
        "decoder.up.#.block.#.": "decoder.levels.#.steps.#.0.",
        "decoder.up.#.attn.#.": "decoder.levels.#.steps.#.1.",
        "decoder.up.#.upsample.": "decoder.levels.#.resample.",
    },
    parts=PARTS,
    dropped=("loss.", "model_ema."),
)


class Taming(TokenizerFamily):
    """A VQGAN of taming-transformers: VQModel, GumbelVQ, or the KL autoencoder of latent diffusion.

    GumbelVQ draws its codes at random even in evaluation; here they are the likeliest.
    """

    signs = (
        "encoder.down.0.block.0.conv1.weight",
        "encoder.mid.block_1.conv1.weight",
    )
    foreign = ("quantize.quant_resi.",)

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        weights = reverse(NAMES.rename(only(files)), "decoder.levels.")  # theirs begin with the finest
        return vqgan_tokenizer(weights, hints, legacy(hints))
