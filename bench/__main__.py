"""`python -m bench [NAME...]`: each benchmark is a module of this folder with a function `run()`."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {
    "quantizers": "nearest code and quantizer step against vector-quantize-pytorch",
    "steps": "training steps at the sizes that the recipe auto chooses, and their share of the matrix rate",
    "tokenizers": "training step of a tokenizer against diffusers' VQModel, at equal weights",
    "estimators": "evaluations of f and time against torch.distributions and loops written by hand",
    "mixers": "sequence mixers against SDPA and other libraries",
    "sampling": "tokens per second against transformers' generate: GPT-2 and Mamba",
    "few_steps": "priors that draw many codes at once: quality against rounds and seconds; drafts",
    "bits": "heads of bits against a softmax over 1024 codes: training step, memory, drawing",
    "slim": "quantised and pruned priors against whole ones; integer products against torchao",
    "codec": "the codec's pictures a second, and the same bits under all circumstances",
    "gpu": "one script for a day with a GPU: tests, kernels, training steps, sampling, memory",
    "plan": "what `caselli plan` says, beside memory and time measured on this machine",
    "streams": "tar shards: pictures a second beside other readers, memory over a million pictures",
    "studio": "a click on a code in `caselli studio demo`, in milliseconds",
    "race": "recipes against a pipeline of peers in equal minutes, judged by networks that taught neither",
    "resamplers": "every resampler: time, checkerboards, aliasing, reconstruction",
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are:", file=sys.stderr)
        for name, what in BENCHMARKS.items():
            print(f"  {name:<14}{what}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name]}")
        importlib.import_module(f"bench.{name}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
