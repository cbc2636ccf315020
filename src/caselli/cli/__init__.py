"""The command `caselli`: one file a command, imported when it is called; torch only by those that need it."""

from __future__ import annotations

import importlib
import keyword
import os
import sys

from caselli.cli.advice import START
from caselli.errors import UnknownName, UserError, is_out_of_memory
from caselli.files import is_full
from caselli.version import __version__

COMMANDS = {
    "demo": "a model of letters and digits, trained in front of you in five minutes",
    "train": "train a tokenizer and a prior on pictures, and write a report",
    "plan": "say what a run will take on given devices, without training it",
    "sample": "make new pictures with a trained run",
    "complete": "draw the rest of pictures of which a part is kept",
    "upscale": "draw pictures at the size a run was trained at from smaller ones",
    "variations": "make new pictures near a given one",
    "interpolate": "go from one picture to another",
    "reconstruct": "show pictures beside what the tokenizer makes of them",
    "tune": "fine-tune a run on a folder of new pictures",
    "refine": "train a decoder further on what its prior draws",
    "guide": "train a weaker prior that a run's prior is led away from",
    "slim": "make a run smaller: fewer bits, fewer weights, or a small network that learns from it",
    "import": "make a run of a tokenizer and a prior trained elsewhere",
    "export": "write a run for other tools: diffusers, ONNX, torch.export, a hub",
    "push": "send a run to a hub of models, with a model card",
    "encode": "turn pictures into codes",
    "decode": "turn codes into pictures",
    "residual": "learn what the codec's exact kind keeps beside the codes",
    "compress": "pictures as bytes: their codes, or every pixel",
    "decompress": "the pictures back from those bytes",
    "segment": "give every pixel of pictures a class, with a run of unet or fcn",
    "score": "say how probable a run finds pictures, the odd ones first",
    "evaluate": "measure a run on held-out pictures",
    "compare": "methods side by side, a table and a picture",
    "inspect": "tell what each layer of a network sees and costs",
    "studio": "see, sample, change and train runs in a web page on this machine",
    "list": "show the variants that there are: mixers, quantizers, recipes and so on",
    "completion": "print a script that completes commands and options in a shell",
}
"""Every command, with its line of help. The module of the same name, with an underscore behind a word that
Python keeps for itself, has a typed function `command`, or `run(words)` where words decide which options
there are."""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _dispatch(arguments)
        sys.stdout.flush()
    except UserError as error:
        return _say(f"{error}", 2)
    except KeyboardInterrupt as error:
        return _say(str(error) or "interrupted", 130)
    except BrokenPipeError:  # the reader of a pipe went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if is_full(error):
            return _say("the disk is full; make room, what was there before is intact", 2)
        if error.filename is None:
            raise
        return _say(f"{os.fsdecode(error.filename)} cannot be used ({error.strerror})", 2)
    except (MemoryError, RuntimeError, SystemError) as error:
        if is_full(error):
            return _say("the disk is full; make room, what was there before is intact", 2)
        if not is_out_of_memory(error):
            raise
        return _say("there is not enough memory for what was asked; fewer or smaller pictures need less", 2)
    return 0


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
    elif arguments[0] == "--version":
        print(f"caselli {__version__}")
    elif arguments[0] not in COMMANDS:
        raise UnknownName("command", arguments[0], COMMANDS)
    else:
        name, words = arguments[0], arguments[1:]
        module = importlib.import_module(f"caselli.cli.{name}" + "_" * keyword.iskeyword(name))
        if hasattr(module, "run"):
            module.run(words)
            return
        from caselli.cli.command import call  # not for `--help` alone, which is instant

        call(name, module.command, words)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, line in COMMANDS.items()]
    return "\n".join(
        [
            "usage: caselli COMMAND ...",
            "",
            "A folder of pictures becomes a generative model.",
            "",
            *lines,
            "",
            f"`caselli COMMAND --help` says more of each. A start: {START}",
        ]
    )


def _say(words: str, code: int) -> int:
    try:
        print("caselli: " + " ".join(words.split()), file=sys.stderr)
    except MemoryError:  # there may be too little for the sentence that says so
        os.write(2, b"caselli: there is not enough memory for what was asked\n")
    return code
