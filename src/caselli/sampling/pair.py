"""Two priors over the same codes, for engines that draw by both."""

from __future__ import annotations

from caselli.errors import UserError
from caselli.prior import Autoregressive, Prior
from caselli.sampling.packed import PackedEngine, prepacked


def in_sequence(prior: Prior, use: str, remedy: str) -> Autoregressive:
    """The prior that draws one code after another.

    Arguments:
        prior: autoregressive, or one of any order, see `Prior.straight`.
        use, remedy: what it is wanted for, and how to do without, for the message.

    Errors: `UserError` for priors of other kinds.
    """
    straight = prior.straight()
    if straight is None:
        raise UserError(
            f"a prior of kind {prior.kind!r} was given for {use}",
            "autoregressive or random_order was expected",
            remedy,
        )
    return straight


def expect_tabular(prior: Prior, use: str, remedy: str) -> None:
    """Raises a `UserError` for a prior without a softmax over all codes; `in_sequence` has the arguments."""
    if not prior.code_head.tabular:
        raise UserError(
            f"a prior with the head {prior.config.head!r} was given for {use}",
            "one with a softmax over all codes was expected",
            remedy,
        )


def expect_same_slots(prior: Prior, other: Prior, role: str) -> None:
    """Raises a `UserError` where the slots or conditions of two priors differ.

    Arguments:
        prior, other: the two priors.
        role: of the other one, for the message.
    """
    for name, words in (
        ("sizes", "codebook sizes"),
        ("codebooks", "slots"),
        ("limits", "codes of a slot"),
        ("places", "order"),
        ("classes", "labels"),
        ("text", "captions"),
        ("picture", "condition picture"),
    ):
        if getattr(prior.alphabet, name) != getattr(other.alphabet, name):
            raise UserError(
                f"a {role} with other {words} was given",
                "two priors over the codes of one tokenizer, in one order, were expected",
            )


def laid_out(prior: Autoregressive, rows: int) -> Autoregressive:
    """The prior with its weights laid out for a number of rows, where that can be."""
    return prepacked(prior, rows) if PackedEngine.refusal(prior) is None else prior
