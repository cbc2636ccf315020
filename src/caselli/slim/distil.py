"""A small prior that learns from a large one: layer by layer first, then its distribution."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from caselli.errors import UserError
from caselli.layer import Borrowed
from caselli.prior import Autoregressive, Head
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Distilling:
    """Settings of distillation."""

    temperature: float = 1.0
    """τ, which the logits of both are divided by."""
    data: float = 0.1
    """Share of the data's own likelihood in the loss; the rest is the teacher's."""
    transfer: float = 0.3
    """Share of the budget in which each layer learns its teacher's outputs, before the logits."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UserError(f"temperature {self.temperature} was given", "more than 0 was expected")
        for name in ("data", "transfer"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name)} was given", "0 to 1 was expected")


class Distilled(nn.Module):
    r"""A student that is trained in place of a prior: what `PriorTask` trains, with the teacher's loss.

    .. math::
        L_1 = \sum_l \frac{\|m_l(N_l x_l) - m'_l(N'_l x_l)\|^2}{\|m'_l(N'_l x_l)\|^2}, \qquad
        L_2 = (1 - \alpha)\,\tau^2\,\mathrm{KL}\big(p'_\tau \,\|\, p_\tau\big) - \alpha \log p(x)

    First L₁, where both have one width: a student's mixer m is given what the teacher's mixer m′ of the
    layer it stands for is given, and learns to say the same; so are groups of layers, where the student has
    fewer. Then L₂, the distributions of both at temperature τ, the data with weight α.

    Arguments:
        student: any mixers; of the teacher's width it should begin with `inherit`.
        teacher: trained; not changed, and no part of the module's state.
        how: temperature and shares.

    Sources: Hinton et al. 2015, Distilling the Knowledge in a Neural Network; Bick et al. 2024, Transformers
    to SSMs: Distilling Quadratic Knowledge to Subquadratic Models; Zhang et al. 2024, LoLCATs: On Low-Rank
    Linearizing of Large Language Models.
    """

    def __init__(self, student: Autoregressive, teacher: Autoregressive, how: Distilling) -> None:
        super().__init__()
        heads = [prior.config.head for prior in (student, teacher)]
        if heads[0] != heads[1] or student.code_head.parts != teacher.code_head.parts:
            raise UserError(
                f"a student with the head {heads[0]!r} was given to a teacher with {heads[1]!r}",
                "heads of one kind and of equal parts were expected",
                "leave --prior.head and its options as the teacher has them",
            )
        self.student, self.how = student, how
        self.config, self.alphabet = student.config, student.alphabet
        self.teacher = Borrowed(teacher)

    @property
    def code_head(self) -> Head:
        """The student's."""
        return self.student.code_head

    def log_prob(self, sequence: Int[Tensor, "B T"], condition, seen=None) -> Float[Tensor, "B T"]:
        """The student's."""
        return self.student.log_prob(sequence, condition, seen)

    def validation_loss(self, sequence: Int[Tensor, "B T"], condition) -> Float[Tensor, ""]:
        """The student's."""
        return self.student.validation_loss(sequence, condition)

    def training_loss(self, sequence, condition, seen, progress: float) -> Float[Tensor, ""]:
        """L₁ or L₂, as the budget goes."""
        teacher = self.teacher.on(sequence.device)
        if progress < self.how.transfer and self._match():
            unused = [p.sum() for name, p in self.student.named_parameters() if not _learns_first(name)]
            return layers_loss(self.student, teacher, seen, condition) + 0 * sum(unused)
        with torch.no_grad():
            wanted = teacher.logits(seen, condition)
        logits = self.student.logits(seen, condition)
        heads, whole = (teacher.code_head, self.student.code_head), slice(None)
        likelihood = heads[1].log_prob(logits, sequence, whole).mean()
        parts = [
            head.part_logits(x, sequence, whole) for head, x in zip(heads, (wanted, logits), strict=True)
        ]
        nearness = sum(
            a.shape[-2] * divergence(a, b, self.how.temperature) for a, b in zip(*parts, strict=True)
        )
        return (1 - self.how.data) * nearness - self.how.data * likelihood

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The student's."""
        return self.student.hidden_matrices()

    def _match(self) -> bool:
        return self.student.config.width == self.teacher.network.config.width


def divergence(
    teacher: Float[Tensor, "B T K"], student: Float[Tensor, "B T K"], temperature: float
) -> Float[Tensor, ""]:
    """τ² KL(teacher ‖ student) in nats a code, both softened by τ; entries at −∞ in both count nothing.

    Example:
        >>> divergence(torch.zeros(1, 1, 2), torch.tensor([[[1.0, -1.0]]]), 1.0)
        tensor(0.4338)
    """
    wanted = (teacher / temperature).log_softmax(-1)
    given = (student / temperature).log_softmax(-1)
    gap = torch.where(wanted.isneginf(), 0.0, wanted - given)
    return temperature**2 * (wanted.exp() * gap).sum(-1).mean()


def stands_for(layer: int, student: int, teacher: int) -> tuple[int, int]:
    """First and last + 1 of the teacher's layers that a layer of the student stands for.

    Example:
        >>> [stands_for(layer, 2, 5) for layer in range(2)]
        [(0, 2), (2, 5)]
    """
    return layer * teacher // student, (layer + 1) * teacher // student


def layers_loss(
    student: Autoregressive, teacher: Autoregressive, sequence: Int[Tensor, "B T"], condition
) -> Float[Tensor, ""]:
    """L₁: each layer of the student against those of the teacher that it stands for, on the teacher's own
    inputs; mixers alone where it stands for one, whole layers where for several."""
    inputs, mixed, outputs = hidden(teacher, sequence, condition)
    total = torch.zeros((), device=sequence.device)
    for number, block in enumerate(student.blocks):
        first, end = stands_for(number, len(student.blocks), len(teacher.blocks))
        if end - first == 1:
            given, wanted = block.mixer(block.norm1(inputs[first]))[0], mixed[first]
        else:
            given, wanted = block(inputs[first], None)[0] - inputs[first], outputs[end - 1] - inputs[first]
        total = total + (given - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)
    return total


@torch.no_grad()
def hidden(prior: Autoregressive, sequence: Int[Tensor, "B T"], condition) -> tuple[list[Tensor], ...]:
    """Each layer's input, what its mixer says, and its output, `B T E`."""
    inputs, mixed, outputs, hooks = [], [], [], []
    for block in prior.blocks:
        hooks.append(block.register_forward_pre_hook(lambda _, given: inputs.append(given[0])))
        hooks.append(block.mixer.register_forward_hook(lambda _, given, made: mixed.append(made[0])))
        hooks.append(block.register_forward_hook(lambda _, given, made: outputs.append(made[0])))
    try:
        prior.logits(sequence, condition)
    finally:
        for hook in hooks:
            hook.remove()
    return inputs, mixed, outputs


@torch.no_grad()
def inherit(student: Autoregressive, teacher: Autoregressive) -> list[str]:
    """Copies into a student what fits of the teacher, and names it: embeddings, norms, the last layer, and
    each layer's MLP from the last of the layers that it stands for; a mixer of the same kind too."""
    own, given = student.state_dict(), teacher.state_dict()
    copied = []
    for name, tensor in own.items():
        source = name
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            end = stands_for(int(number), len(student.blocks), len(teacher.blocks))[1]
            same = type(student.blocks[int(number)].mixer) is type(teacher.blocks[end - 1].mixer)
            if rest.startswith("mixer.") and not same:
                continue
            source = f"blocks.{end - 1}.{rest}"
        if source in given and given[source].shape == tensor.shape:
            tensor.copy_(given[source])
            copied.append(name)
    return copied


def _learns_first(name: str) -> bool:
    return name.startswith("blocks.")


def refuse_other_kinds(*priors: nn.Module) -> None:
    """Errors: `UserError` for a prior that is not autoregressive: it has no distribution of the next code."""
    for prior in priors:
        if prior.straight() is not prior:
            raise UserError(
                f"a {type(prior).__name__} prior was given",
                "to distil, an autoregressive one was expected",
                "prune or quantise it",
            )
