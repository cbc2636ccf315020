"""Meaning of the folders of a set of pictures: parts for training and for testing, and classes."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence
from types import EllipsisType

from caselli.data.listing import BAD_SHARE

_AROUND = r"(?:images?|imgs?|pictures?|data|set)?"
_SPLIT = re.compile(
    rf"{_AROUND}[-_ ]?(?:(?P<train>train(?:ing)?)|test(?:ing)?|val(?:id(?:ation)?)?|dev|eval(?:uation)?|pred|"
    rf"held[-_ ]?out|hold[-_ ]?out)[-_ ]?(?:{_AROUND}|\d{{4}})"
)
_DOUBTFUL = re.compile(r"(?i)(?:^|[^a-z])(?:train|test|val)")

Folders = tuple[str, ...]
Part = bool | EllipsisType | None


@dataclasses.dataclass(frozen=True)
class Layout:
    """The meaning of a set's folders, for the pictures that are kept."""

    kept: tuple[int, ...]
    """Indices of the pictures that are taken."""
    classes: tuple[str, ...] | None
    """Name of each kept picture's class; None without classes."""
    held_out: tuple[bool, ...] | None
    """True for each kept picture of a part for testing; None where the folders say nothing of parts."""
    notes: tuple[str, ...]
    """Sentences on what was decided, and what to write for something else."""


def is_training(folder: str) -> bool | None:
    """True for a folder's name that says training, False for one that says testing, None for any other.

    Example:
        >>> [is_training(name) for name in ("Train", "val2017", "test_images", "cat", "trains", "invalid")]
        [True, False, False, None, None, None]
    """
    found = _SPLIT.fullmatch(folder.casefold())
    return None if found is None else found["train"] is not None


def layout_of(names: Sequence[str]) -> Layout:
    """The meaning of the folders that pictures lie in.

    Folders `train` and `test` (or `val`, `validation`, …), directly beneath the source, in one folder beneath
    it, or in each class's folder, are the parts of the set, if all folders there have such names, one of them
    for training; words with which all begin or end, as in `seg_train` and `seg_test`, do not count. Where
    every picture lies in one of two or more folders directly beneath the source or its parts, these are the
    classes. A few pictures beside such folders are left out: at most one or 5 %, fewer than any class has.

    Arguments:
        names: of the pictures, relative to the source, with forward slashes.

    Example:
        >>> found = layout_of(["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"])
        >>> found.classes, found.held_out
        (('cat', 'dog', 'cat'), (False, False, True))
    """
    folders = [tuple(name.split("/")[:-1]) for name in names]
    parts, folders = _parted(folders)
    notes: list[str] = []
    inside = [i for i, part in enumerate(parts) if part is not ...]
    if len(inside) < len(names):
        strays = [name for name, part in zip(names, parts, strict=True) if part is ...]
        notes.append(f"left out, beside the folders of the parts: {_few(strays)}")
    strays = _beside_classes([folders[i] for i in inside], [parts[i] for i in inside])
    if strays is None:
        notes += _unclear([folders[i] for i in inside], [names[i] for i in inside])
    elif strays:
        notes.append(f"left out, beside the class folders: {_few([names[inside[i]] for i in strays])}")
    kept = [i for number, i in enumerate(inside) if number not in (strays or ())]
    classes = None if strays is None else tuple(folders[i][0] for i in kept)
    parts = [parts[i] for i in kept]
    notes += _about(classes, parts)
    held_out = tuple(not part for part in parts) if {True, False} <= set(parts) else None
    return Layout(tuple(kept), classes, held_out, tuple(notes))


def _parted(folders: Sequence[Folders]) -> tuple[list[Part], list[Folders]]:
    """Part of each picture, its folders without those of the parts.

    The part is True for training, False for testing, None where there are no parts, and `...` for a picture
    beside them.
    """
    many = len({path[0] for path in folders if path}) > 1
    for level in (0, 1):
        found = collections.Counter(path[level] for path in folders if len(path) > level)
        told = {name: is_training(name) for name in found}
        if None in told.values():
            told = {name: is_training(bare) for name, bare in _bare(found).items()}
        strays = len(folders) - found.total()
        is_told = found and None not in told.values() and (len(found) == 1 or True in told.values())
        if is_told and _few_enough(strays, found):
            parts = [told[path[level]] if len(path) > level else ... for path in folders]
            inner = _inner(folders, level)
            return parts, [path[: level * many] + rest for path, rest in zip(folders, inner, strict=True)]
    return [None] * len(folders), list(folders)


def _bare(names: Iterable[str]) -> dict[str, str]:
    """Names of folders → these without the words with which all of several begin, and end.

    Example:
        >>> _bare(["seg_train", "seg_test"])
        {'seg_train': 'train', 'seg_test': 'test'}
    """
    words = {name: re.split("[-_ ]", name.casefold()) for name in names}
    every = words.values()
    for end in (0, -1):
        while min(len(words), *map(len, every)) > 1 and len({one[end] for one in every}) == 1:
            for one in every:
                del one[end]
    return {name: "_".join(one) for name, one in words.items()}


def _inner(folders: Sequence[Folders], level: int) -> list[Folders]:
    """Folders of each picture within that of its part; archives often have all of a part in one more folder,
    of the part's name."""
    within = collections.defaultdict(set)
    for path in folders:
        within[path[level : level + 1]].add(path[level + 1 : level + 2])
    doubled = {part for part, inner in within.items() if inner == {part}}
    return [path[level + 1 + (path[level : level + 1] in doubled) :] for path in folders]


def _few_enough(strays: int, counts: collections.Counter) -> bool:
    """True where so few pictures lie beside folders that the folders are still what is meant."""
    total = strays + counts.total()
    return strays <= max(1, BAD_SHARE * total) and strays < min(counts.values(), default=0) + (strays == 0)


def _beside_classes(folders: Sequence[Folders], parts: Sequence[Part]) -> set[int] | None:
    """The pictures that lie in no class folder, to be left out; None where the folders are no classes."""
    strays = {i for i, path in enumerate(folders) if not path}
    counts = collections.Counter(path[0] for path in folders if path)
    if len(counts) < 2:
        return None
    only_tests = any(parts) and all(parts[i] is False for i in strays)
    return strays if only_tests or _few_enough(len(strays), counts) else None


def _unclear(folders: Sequence[Folders], names: Sequence[str]) -> list[str]:
    tops = sorted({path[0] for path in folders if path})
    outside = [name for name, path in zip(names, folders, strict=True) if not path]
    if len(tops) > 1:
        return [
            f"no classes: {len(outside)} of {len(names)} pictures lie in none of the folders {_few(tops)}; "
            "to have classes move each into one of them"
        ]
    if len(tops) == 1 and not outside and len({path[1] for path in folders if len(path) > 1}) > 1:
        return [
            f"no classes: every picture lies in the folder {tops[0]}; name that folder as the source to have "
            "the folders in it as classes"
        ]
    return []


def _about(classes: Sequence[str] | None, parts: Sequence[bool | None]) -> list[str]:
    notes = []
    if {True, False} <= set(parts):
        notes.append(
            f"the folders part the set: {parts.count(True)} to train on, {parts.count(False)} held out"
        )
    if classes is None:
        return notes
    if {True, False} <= set(parts):
        trained = {name for name, part in zip(classes, parts, strict=True) if part}
        if unseen := sorted(set(classes) - trained):
            notes.append(f"classes of which no picture is trained on: {_few(unseen)}")
    if doubtful := sorted(name for name in set(classes) if _DOUBTFUL.search(name)):
        notes.append(
            f"the folders {_few(doubtful)} are taken for classes; call them train and test if they are parts"
        )
    return notes


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
