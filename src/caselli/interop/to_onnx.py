"""Programs in ONNX: the tokenizer's, and the prior's step with a script that samples without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx.node import map_arg

from caselli.errors import UserError, first_line, is_out_of_memory
from caselli.files import atomic_write, write_text
from caselli.interop.export import ANY_BATCH, TOLERANCE, Programs, Runner, quiet, traced
from caselli.interop.onnx_integers import pack_integers
from caselli.interop.prior_program import Beginning, Stepping, refusal
from caselli.interop.target import Exportable
from caselli.model import Model, load
from caselli.prior import Autoregressive, Conditions, described_vocabulary
from caselli.shapes import Tensor

BEGIN, STEP, SCRIPT = "prior_begin.onnx", "prior_step.onnx", "sample.py"
NOTHING = {"labels": -1, "text": 0, "codes": -1}
"""Value of each input that stands for no condition."""


class ToOnnx(Programs):
    """Encoder, decoder and the prior's step in ONNX, and a script that samples with onnxruntime alone."""

    name, suffix = "onnx", ".onnx"
    libraries = ("onnx", "onnxscript", "onnxruntime")

    def save(self, program: ExportedProgram, path: Path) -> None:
        _save(program, path)

    def read(self, path: Path) -> Runner:
        session = _session(path)
        name = session.get_inputs()[0].name
        return lambda given: torch.from_numpy(session.run(None, {name: given.numpy()})[0])

    def write(self, run: Exportable, folder: Path) -> str:
        words = [super().write(run, folder)]
        model = load(run.folder)
        reason = "the run has no prior" if model.prior is None else refusal(model.prior)
        if reason:
            words.append(f"no prior: {reason}")
        else:
            _trace_prior(model, folder)
        packed = [how for made in model.compressions.values() for how in made.packed.values()]
        if any(how.bits == 8 for how in packed):
            saved = sum(pack_integers(path) for path in sorted(folder.glob("*.onnx")))
            words.append(f"{saved / 1e6:.2f} MB less by weights in int8")
        words += [] if reason else [_describe_prior(model, folder)]
        return "\n".join(words)


def _trace_prior(model: Model, folder: Path) -> None:
    """Writes the prior's two programs."""
    prior = model.require_prior().straight().cpu().eval()
    beginning, stepping = Beginning(prior), Stepping(prior)
    parts = [torch.full((2, *axes), NOTHING[name]) for name, axes in beginning.parts().items()]
    with torch.no_grad():
        places, *state = beginning(*parts)
    states = [f"state_{number}" for number in range(len(state))]
    given = (torch.zeros(2, dtype=torch.int64), torch.tensor(1), places[:, 0], *state)
    step = {"codes": ANY_BATCH, "place": {}, "vector": ANY_BATCH, "state": tuple(ANY_BATCH for _ in state)}
    names = ["codes", "place", "vector", *states]
    begin = {"parts": tuple(ANY_BATCH for _ in parts)}
    _trace(beginning, tuple(parts), begin, folder / BEGIN, list(beginning.parts()), ["places", *states])
    _trace(stepping, given, step, folder / STEP, names, ["logits", *(f"new_{name}" for name in states)])


def _describe_prior(model: Model, folder: Path) -> str:
    """Runs the prior's programs, and writes their description and the script; says how they agree.

    Errors: `UserError` for programs that differ from the prior; they are removed.
    """
    prior = model.require_prior().straight().cpu().eval()
    difference = _difference(prior, folder)
    if difference > TOLERANCE:
        for name in (BEGIN, STEP):
            (folder / name).unlink()
        raise UserError(
            f"the prior's program differs by up to {difference:.1e} in the logits",
            f"at most {TOLERANCE:.0e} was expected",
            "it was removed",
        )
    described = json.loads((folder / "programs.json").read_text(encoding="utf-8"))
    described["prior"] = _description(model, prior) | {"difference": difference}
    write_text(folder / "programs.json", json.dumps(described, indent=2))
    source = Path(__file__).with_name("sample_with_onnx.txt")
    write_text(folder / SCRIPT, source.read_text(encoding="utf-8"))
    words = f"{folder / STEP}: logits differ by up to {difference:.0e}"
    return f"{words}; draw with python {folder / SCRIPT} -o new.png"


def _trace(
    part: nn.Module, examples, shapes, path: Path, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    with atomic_write(path) as temporary, quiet():
        program = traced(part, examples, shapes)
        modules = program.graph_module.modules()
        operations = {node.target for part in modules for node in part.graph.nodes}
        if torch.ops.aten.complex.default in operations:
            program = _frozen(program, examples, shapes)
        if torch.ops.aten.cummax.default in operations:
            program = program.run_decompositions({torch.ops.aten.cummax.default: running_maximum})
        _save(program, temporary, inputs, outputs)


def running_maximum(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """`torch.cummax` of whole numbers, which ONNX does not have, in memory that is quadratic in the length.

    Arguments:
        x: whole numbers of any shape.
        dim: the axis along which they are compared.

    Example:
        >>> running_maximum(torch.tensor([[1, 0, 2]]), 1)
        (tensor([[1, 1, 2]]), tensor([[0, 0, 2]]))
    """
    x = x.movedim(dim, -1)
    later = torch.ones(x.shape[-1], x.shape[-1], dtype=torch.bool, device=x.device).triu(1)
    so_far = torch.where(later, x.new_full((), torch.iinfo(x.dtype).min), x[..., None, :])
    values, indices = so_far.max(-1)
    return values.movedim(-1, dim), indices.movedim(-1, dim)


def _frozen(program: ExportedProgram, examples, shapes) -> ExportedProgram:
    """The program with the real and imaginary parts of complex numbers that follow from weights alone as
    weights of their own: ONNX has no operations of complex numbers."""
    module = program.run_decompositions({}).module(check_guards=False)
    known: dict[torch.fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            known[node] = attrgetter(node.target)(module)
        elif node.op == "call_function" and all(each in known for each in node.all_input_nodes):
            given, options = map_arg((node.args, node.kwargs), known.get)
            known[node] = node.target(*given, **options)
            if node.target is torch.ops.aten.view_as_real.default:
                module.register_buffer(node.name, known[node].clone())
                with module.graph.inserting_before(node):
                    node.replace_all_uses_with(module.graph.get_attr(node.name))
    module.graph.eliminate_dead_code()
    module.recompile()
    flat = [axes for each in shapes.values() for axes in (each if isinstance(each, tuple) else (each,))]
    return torch.export.export(module, examples, dynamic_shapes=flat)


def _difference(prior: Autoregressive, folder: Path) -> float:
    """Largest difference of a logit, over random codes and conditions of three sequences."""
    source, alphabet = torch.Generator().manual_seed(0), prior.alphabet
    sizes = torch.tensor([alphabet.sizes[book] for book in alphabet.codebooks])
    codes = (torch.rand(3, alphabet.length, generator=source) * sizes).long()
    labels = torch.randint(-1, max(1, alphabet.classes), (3,), generator=source)
    begin, step = _session(folder / BEGIN), _session(folder / STEP)
    given = {name: torch.full((3, *axes), NOTHING[name]) for name, axes in Beginning(prior).parts().items()}
    given["labels"] = labels
    if alphabet.text is not None:
        given["text"] = alphabet.text.encode(("a red heart", "and no other", ""))
    places, *state = begin.run(None, {name: part.numpy() for name, part in given.items()})
    with torch.no_grad():
        wanted = prior.logits(codes, Conditions(**given))
    names, before, worst = [each.name for each in step.get_inputs()], prior.conditioner.length, 0.0
    for place in range(places.shape[1]):
        known = codes[:, max(0, place - before)].numpy()
        fed = [known, torch.tensor(place).numpy(), places[:, place], *state]
        logits, *state = step.run(None, dict(zip(names, fed, strict=True)))
        if place >= before - 1:
            one, other = torch.from_numpy(logits), wanted[:, place - before + 1]
            worst = max(worst, (one - other).nan_to_num(0, 0, 0).abs().max().item())
    return worst


def _description(model: Model, prior: Autoregressive) -> dict[str, Any]:
    beginning, text = Beginning(prior), prior.alphabet.text
    cells = torch.arange(model.grid.length).view(1, *model.grid.shape)
    return {
        "begin": BEGIN,
        "step": STEP,
        "conditions": {
            name: {"shape": list(axes), "nothing": NOTHING[name]} for name, axes in beginning.parts().items()
        },
        "before": prior.conditioner.length,
        "slots": prior.alphabet.length,
        "first_entries": prior.offset.tolist(),
        "cells": model.order.flatten(cells, model.grid)[0].tolist(),
        "classes": list(model.classes),
        "text": None if text is None else {**described_vocabulary(text), "each": text.each},
    }


def _save(
    program: ExportedProgram,
    path: Path,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> None:
    """Writes a program as ONNX, weights included.

    Errors: `UserError` for one with operations that ONNX has not, as those of complex numbers.
    """
    names = {"input_names": inputs, "output_names": outputs}
    try:
        torch.onnx.export(program, f=str(path), dynamo=True, external_data=False, verbose=False, **names)
    except Exception as error:  # whatever of a hundred things the exporter does not know
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"a part of the run cannot be written as ONNX ({first_line(error.__cause__ or error)[:200]})",
            "operations that ONNX has were expected: complex numbers are none of them",
            "--to torch writes the tokenizer",
        ) from error


def _session(path: Path) -> Any:
    from onnxruntime import InferenceSession

    return InferenceSession(str(path), providers=["CPUExecutionProvider"])
