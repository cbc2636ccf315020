"""Sets that Hugging Face's datasets saved: Arrow files, of which pyarrow tells where the pictures lie."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from caselli.data.caption_files import MOST_TEXT, WORDS
from caselli.data.layout import is_training
from caselli.data.listing import read_listing
from caselli.data.pictures import Pictures
from caselli.data.source import Request, Source
from caselli.data.tar import listing_of
from caselli.decoding import Location
from caselli.errors import MissingExtra, UserError

_SPLITS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"
_IMAGES = ("image", "img", "picture", "jpg", "png")
_LABELS = ("label", "labels", "class", "fine_label")
"""Names of columns, in the order in which they are preferred."""


class Arrow(Source):
    """A folder that `Dataset.save_to_disk` wrote, or `DatasetDict.save_to_disk` with a folder for each split.

    Pictures are a column of the type Image, labels one of the type ClassLabel or one called so, captions a
    column of strings, or of lists of strings, called so. Splits such as `test` and `validation` are held out.
    Nothing is executed, nothing fetched: the pictures are read from where they lie in the files.
    """

    expected = "a set saved by Hugging Face datasets"

    @staticmethod
    def accepts(source: str) -> bool:
        found = [os.path.isfile(os.path.join(source, name)) for name in (_SPLITS, _STATE, _INFO)]
        return found[0] or all(found[1:])

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        splits = _splits(source)
        samples = [
            {**sample, "held_out": is_held_out, "name": os.path.join(split, sample["name"])}
            for split, is_held_out in _held_out(splits).items()
            for path in splits[split]
            for sample in arrow_samples(path)
        ]
        if not samples:
            raise UserError(f"{source} holds no rows", "pictures were expected")
        listing = listing_of(Path(source).resolve().name, samples)
        notes = _notes(next(path for paths in splits.values() for path in paths))
        if len({sample["held_out"] for sample in samples}) == 2:
            away = sum(listing.held_out)
            said = f"the splits part the set: {len(listing.names) - away} to train on, {away} held out"
            notes = (said, *notes)
        else:
            listing = dataclasses.replace(listing, held_out=None)
        return read_listing(dataclasses.replace(listing, notes=notes), request)


def arrow_paths(source: str) -> list[str]:
    """The shards of a set in the order in which they are streamed, those to train on, and of those held out
    the first; none where the source is something else."""
    if not Arrow.accepts(source):
        return []
    splits = _splits(source)
    away = _held_out(splits)
    train = [path for split in splits for path in splits[split] if not away[split]]
    return train + [path for split in splits for path in splits[split] if away[split]][:1]


def arrow_samples(path: str) -> list[dict[str, Any]]:
    """Name, location, label and caption of each picture of a shard, in order; `bad` where it is no use.

    Errors: `MissingExtra` without pyarrow, `UserError` for a file that is broken, or has no pictures.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra(f"the source {path}", "pyarrow", "arrow") from None
    columns = _Columns.of(path)
    try:
        whole = pyarrow.memory_map(path).read_buffer()
        batches = list(pyarrow.ipc.open_stream(whole))  # views of the file: no picture is read
        rows = [row for batch in batches for row in _rows(batch, columns, path, whole)]
    except (pyarrow.ArrowException, OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        # of columns that have other types than the set says
        raise UserError(f"{path} cannot be read ({error})", "a whole Arrow file was expected") from error
    return [{"name": f"{Path(path).name}/{number}", **row} for number, row in enumerate(rows)]


@dataclasses.dataclass(frozen=True)
class _Columns:
    """The columns of a set that are read."""

    image: str
    label: str | None
    classes: Sequence[str] | None
    """Names of the labels' numbers; None where the labels are words or numbers themselves."""
    caption: str | None
    others: tuple[str, ...]

    @classmethod
    def of(cls, path: str) -> _Columns:
        features = _json(Path(path).parent / _INFO, "features", dict)
        kinds = {name: one.get("_type") for name, one in features.items() if isinstance(one, dict)}
        image = _first(_IMAGES, [name for name, kind in kinds.items() if kind == "Image"])
        if image is None:
            raise UserError(
                f"{path} has the columns {', '.join(features)}", "one of the type Image was expected"
            )
        label = _first(_LABELS, [name for name, kind in kinds.items() if kind == "ClassLabel"])
        classes = None if label is None else features[label].get("names")
        if label is None:
            label = next((name for name in _LABELS if name in features), None)
        caption = next((name for name in WORDS if _is_text(features.get(name))), None)
        others = tuple(name for name in features if name not in (image, label, caption))
        return cls(image, label, classes, caption, others)


def _rows(batch: Any, columns: _Columns, path: str, whole: Any) -> Iterator[dict[str, Any]]:
    wanted = [columns.image, *(name for name in (columns.label, columns.caption) if name)]
    batch = batch.select(wanted)
    batch.validate(full=True)  # offsets of a broken file lie anywhere
    labels, captions = (
        [None] * len(batch) if name is None else batch.column(name).to_pylist()
        for name in (columns.label, columns.caption)
    )
    for place, label, caption in zip(
        _places(batch.column(columns.image), path, whole), labels, captions, strict=True
    ):
        row = {
            "location": place or Location(path, 0, 0),
            **_label(label, columns.classes),
            **_caption(caption),
        }
        yield row if place else {**row, "bad": "its bytes are not in the set"}


def _places(column: Any, path: str, whole: Any) -> list[Location | None]:
    """The place in the file of each picture, None for one whose bytes are elsewhere."""
    import numpy as np
    import pyarrow

    data = column.flatten()[column.type.get_field_index("bytes")]
    widths = {pyarrow.binary(): np.int32, pyarrow.large_binary(): np.int64}
    _, ends, content = data.buffers()
    begin = 0 if content is None else content.address - whole.address
    if data.type not in widths or not 0 <= begin <= whole.size:
        raise UserError(f"{path} is compressed, or of another layout", "save it anew by Dataset.save_to_disk")
    ends = np.frombuffer(ends, widths[data.type])[data.offset : data.offset + len(data) + 1]
    spans = zip(
        (ends[:-1] + begin).tolist(), np.diff(ends).tolist(), data.is_valid().to_pylist(), strict=True
    )
    return [Location(path, first, length) if there else None for first, length, there in spans]


def _label(value: Any, classes: Sequence[str] | None) -> dict[str, Any]:
    if classes is None:
        return {} if value is None else {"label": str(value)}
    return {"label": str(classes[value])} if value is not None and 0 <= value < len(classes) else {}


def _is_text(feature: Any) -> bool:
    """True for a column of strings, or of lists of strings."""
    if isinstance(feature, list):
        return len(feature) == 1 and _is_text(feature[0])
    if not isinstance(feature, dict):
        return False
    return feature.get("dtype") in ("string", "large_string") or _is_text(feature.get("feature"))


def _caption(value: Any) -> dict[str, Any]:
    several = tuple(map(str, value if isinstance(value, list) else [value] if value is not None else []))
    if sum(map(len, several)) > MOST_TEXT:
        return {"bad": f"its caption is longer than {MOST_TEXT} letters"}
    return {"caption": several[0], "captions": several} if several else {}


def _splits(source: str) -> dict[str, list[str]]:
    """The shards of each split; of a set without splits, of one with no name."""
    root = Path(source)
    if not (root / _SPLITS).is_file():
        return {"": _shards(root)}
    names = [_plain(name, root / _SPLITS) for name in _json(root / _SPLITS, "splits", list)]
    return {name: _shards(root / name) for name in names}


def _shards(folder: Path) -> list[str]:
    files = _json(folder / _STATE, "_data_files", list)
    names = [_plain(one.get("filename") if isinstance(one, dict) else one, folder / _STATE) for one in files]
    paths = [str(folder / name) for name in names]
    for path in paths:
        if not os.path.exists(path):
            raise UserError(f"the shard {path} is missing", "every shard of the set was expected")
    return paths


def _held_out(splits: Sequence[str]) -> dict[str, bool]:
    """Split → whether it is kept from training; all are trained on where they are all for testing."""
    away = {name: is_training(name) is False for name in splits}
    return dict.fromkeys(splits, False) if all(away.values()) else away


def _plain(name: Any, path: Path) -> str:
    """A name of something beside a file, which leads nowhere else."""
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise UserError(f"{path} names {name!r}", "a name of something beside it was expected")
    return name


def _json(path: Path, name: str, kind: type) -> Any:
    """A value of a file of JSON."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error!r})", "save the set by save_to_disk") from error
    if not isinstance(value, kind):
        raise UserError(f"{path} has {name} {value!r}", f"a {kind.__name__} was expected")
    return value


def _first(preferred: Sequence[str], present: Sequence[str]) -> str | None:
    """The preferred one of the columns, else the first; None where there are none."""
    return next((name for name in preferred if name in present), next(iter(present), None))


def _notes(path: str) -> tuple[str, ...]:
    others = _Columns.of(path).others
    return (f"left out, other columns: {', '.join(others)}",) if others else ()
