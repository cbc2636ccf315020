"""The field's checkpoints in and out again, and programs: `IMPORTERS` by family, `EXPORTERS` by format."""

from caselli.interop.aim import AiM
from caselli.interop.dalle import DALLE
from caselli.interop.diffusers import Diffusers
from caselli.interop.export import (
    Exported,
    Exporter,
    export_tokenizer,
    run_onnx,
    run_torch,
    write_onnx,
    write_torch,
)
from caselli.interop.ibq import IBQTokenizer
from caselli.interop.importing import Imported, import_files, import_tokenizer
from caselli.interop.layout import Family, Hints
from caselli.interop.llamagen import LlamaGen
from caselli.interop.llamagen_gpt import LlamaGenGPT
from caselli.interop.maskgit_vqgan import MaskGITVQGAN
from caselli.interop.mingpt import MinGPT
from caselli.interop.one_d_tokenizer import RAR, ImageBert
from caselli.interop.open_magvit2 import OpenMAGVIT2
from caselli.interop.origin import write_back
from caselli.interop.taming import Taming
from caselli.interop.titok import TiTokTokenizer
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
    "mingpt": MinGPT,
    "llamagen_gpt": LlamaGenGPT,
    "gpt2": GPT2,
    "mamba": MambaLM,
    "mamba2": Mamba2LM,
    "var": VAR,
    "aim": AiM,
    "rar": RAR,
    "image_bert": ImageBert,
}
"""Families of checkpoints, tokenizers and priors: name → how its files are known, and become ours."""

EXPORTERS: dict[str, Exporter] = {
    "torch": Exporter(write_torch, run_torch, ".pt2"),
    "onnx": Exporter(write_onnx, run_onnx, ".onnx", ("onnx", "onnxscript", "onnxruntime")),
}
"""Formats of programs by name."""

__all__ = [
    "EXPORTERS",
    "IMPORTERS",
    "Exported",
    "Exporter",
    "Family",
    "Hints",
    "Imported",
    "export_tokenizer",
    "import_files",
    "import_tokenizer",
    "write_back",
]
