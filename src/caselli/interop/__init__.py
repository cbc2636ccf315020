"""The field's checkpoints in, whole runs out: `IMPORTERS` by family, `TARGETS` by form."""

from caselli.interop.aim import AiM
from caselli.interop.card import card
from caselli.interop.dalle import DALLE
from caselli.interop.diffusers import Diffusers
from caselli.interop.ibq import IBQTokenizer
from caselli.interop.importing import Imported, import_files, import_tokenizer
from caselli.interop.layout import Family, Hints
from caselli.interop.llamagen import LlamaGen
from caselli.interop.llamagen_gpt import LlamaGenCaptions, LlamaGenGPT
from caselli.interop.maskbit import MaskBit, MaskBitTable
from caselli.interop.maskbit_tokenizer import MaskBitTokenizer
from caselli.interop.maskgit_vqgan import MaskGITVQGAN
from caselli.interop.mingpt import MinGPT
from caselli.interop.one_d_tokenizer import RAR, ImageBert
from caselli.interop.open_magvit2 import OpenMAGVIT2
from caselli.interop.origin import write_back
from caselli.interop.push import push
from caselli.interop.taming import Taming
from caselli.interop.target import Exportable, Target
from caselli.interop.titok import TiTokTokenizer
from caselli.interop.to_diffusers import ToDiffusers
from caselli.interop.to_hub import ToHub
from caselli.interop.to_onnx import ToOnnx
from caselli.interop.to_original import ToOriginal
from caselli.interop.to_torch import ToTorch
from caselli.interop.transformers import GPT2, Mamba2LM, MambaLM
from caselli.interop.var import VAR, VARTokenizer

IMPORTERS: dict[str, type[Family]] = {
    "taming": Taming,
    "ibq": IBQTokenizer,
    "open_magvit2": OpenMAGVIT2,
    "llamagen": LlamaGen,
    "diffusers": Diffusers,
    "dalle": DALLE,
    "var_tokenizer": VARTokenizer,
    "titok": TiTokTokenizer,
    "maskgit_vqgan": MaskGITVQGAN,
    "maskbit_tokenizer": MaskBitTokenizer,
    "mingpt": MinGPT,
    "llamagen_gpt": LlamaGenGPT,
    "llamagen_captions": LlamaGenCaptions,
    "gpt2": GPT2,
    "mamba": MambaLM,
    "mamba2": Mamba2LM,
    "var": VAR,
    "aim": AiM,
    "rar": RAR,
    "image_bert": ImageBert,
    "maskbit": MaskBit,
    "maskbit_table": MaskBitTable,
}
"""Families of checkpoints, tokenizers and priors: name → how its files are known, and become ours."""

TARGETS: dict[str, type[Target]] = {
    "diffusers": ToDiffusers,
    "onnx": ToOnnx,
    "torch": ToTorch,
    "hub": ToHub,
    "original": ToOriginal,
}
"""Forms that a run is written in for other tools."""

__all__ = [
    "IMPORTERS",
    "TARGETS",
    "Exportable",
    "Family",
    "Hints",
    "Imported",
    "Target",
    "card",
    "import_files",
    "import_tokenizer",
    "push",
    "write_back",
]
