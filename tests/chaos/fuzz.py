"""Inputs made up for every reader: `python -m tests.chaos.fuzz --seconds 60`.

Each input is a whole file with some of it changed: bits, bytes, runs of them, numbers at their limits, parts
cut out, doubled or taken of another file. A reader may read it or refuse it (`UserError`, `BadPicture`); what
fails is anything else, more than 10 seconds, or more memory than its bound. Inputs that fail are written to
`tests/chaos/corpus/READER`, and read again by the suite.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import json
import math
import os
import random
import resource
import signal
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save

from caselli import data, decoding
from caselli.codec import Archive, Group, every_pixel, optimised_png, parse, serialise_archive, serialise_one
from caselli.compare import COMPARISONS
from caselli.compare import load as load_comparison
from caselli.data.captions import CAPTIONS, read_captions
from caselli.data.codes import CodeStore
from caselli.data.idx import read_idx
from caselli.data.masks import read_masks
from caselli.engine import Checkpoints
from caselli.errors import UserError
from caselli.run.folder import RunFolder
from caselli.weights import read_description, read_foreign, settings_beside
from tests.data.making import raw_png, raw_tiff, write_arrow

CORPUS = Path(__file__).parent / "corpus"
SECONDS, MEMORY = 10, 2 << 30
"""Longest time of one input, and most memory that reading one may take beyond what the process has."""
FORMATS = (
    "PNG",
    "JPEG",
    "GIF",
    "BMP",
    "TIFF",
    "WEBP",
    "PPM",
    "TGA",
    "ICO",
    "JPEG2000",
    "AVIF",
    "QOI",
    "DDS",
    "SGI",
    "PCX",
)


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader of files.

    Arguments:
        seeds: whole files.
        read: reads a file's bytes, given a folder for it.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], None]


def pictures() -> list[bytes]:
    """A small picture in every format that can be written, some with profile, EXIF, transparency or depth."""
    shades = np.arange(13 * 11 * 3, dtype=np.uint8).reshape(13, 11, 3)
    image, found = Image.fromarray(shades), []
    for name in FORMATS:
        with contextlib.suppress(KeyError, OSError, ValueError):
            file = io.BytesIO()
            image.save(file, name)
            found.append(file.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    more = [
        (image.convert("P"), {"transparency": 3}), (image.convert("L"), {"transparency": 9}),
        (image.convert("RGBA"), {}), (image.convert("I;16"), {}), (image, {"exif": exif}),
        (image, {"icc_profile": b"not a profile"}),
    ]  # fmt: skip
    for other, options in more:
        file = io.BytesIO()
        other.save(file, "PNG", **options)
        found.append(file.getvalue())
    file = io.BytesIO()
    image.convert("CMYK").save(file, "JPEG", exif=exif)
    deep = 257 * shades.astype(np.uint16)
    found += [
        raw_png(deep, 16, 2),
        raw_png(shades[..., 0] % 16, 4, 0, (7,)),
        raw_png(deep, 16, 2, (0, 257, 514)),
    ]
    found += [raw_tiff(deep), raw_tiff(deep[..., 0], T262=0), raw_tiff(shades.astype(np.float32)[..., 0])]
    return [*found, file.getvalue()]


def arrays() -> list[bytes]:
    """Arrays of pictures with labels."""
    found = []
    for pixels in (
        np.zeros((3, 5, 5), np.uint8),
        np.ones((2, 5, 5, 3), np.float32),
        np.ones((2, 3, 5, 5), bool),
    ):
        file = io.BytesIO()
        np.savez(file, images=pixels, labels=np.arange(len(pixels)))
        found.append(file.getvalue())
    return found


def shards() -> list[bytes]:
    """A shard of a picture, its label and its caption."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as shard:
        for number in range(2):
            for ending, content in (("png", pictures()[0]), ("cls", b"1"), ("json", b'{"caption": "a"}')):
                member = tarfile.TarInfo(f"{number}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    return [file.getvalue()]


def archives() -> list[bytes]:
    """The codec's files."""
    png = optimised_png(np.zeros((3, 4, 3), dtype=np.uint8))
    group = Group("png", 3, 3, 4, 1, -1, png)
    groups = (group, dataclasses.replace(group, kind="codes", count=2, check=7, data=b"12345678"))
    archive = Archive(b"123456", groups, ("a", "b/c", "d"), (b"", b"wide", b""))
    plain = dataclasses.replace(archive, profiles=())
    one = serialise_one(b"123456", dataclasses.replace(groups[1], count=1), b"wide")
    return [png, one, serialise_archive(archive, "codes"), serialise_archive(plain, "exact")]


def checkpoints() -> list[bytes]:
    """Bytes that torch.save writes of plain data."""
    found = []
    for state in ({"step": 3, "weights": torch.ones(2, 2)}, {"state_dict": {"a.b": torch.zeros(3)}}):
        file = io.BytesIO()
        torch.save(state, file)
        found.append(file.getvalue())
    return found


def stores() -> list[bytes]:
    """A store of codes."""
    with tempfile.TemporaryDirectory() as folder:
        codes = torch.tensor([[0, 3], [1, 2]])
        store = CodeStore(codes, sizes=(4,), tokenizer="t", data="d", names=("a", "b"), captions=("c", "d"))
        store.save(Path(folder, "a.safetensors"))
        return [Path(folder, "a.safetensors").read_bytes()]


FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}


def tables() -> list[bytes]:
    """A file of a set that Hugging Face's datasets saved."""
    with tempfile.TemporaryDirectory() as folder:
        image = {"bytes": pictures()[0], "path": "a.png"}
        rows = [{"image": image, "label": number} for number in (0, 1, 1)]
        write_arrow(Path(folder, "set"), FEATURES, [rows])
        return [path.read_bytes() for path in Path(folder, "set").glob("*.arrow")]


def table(content: bytes, folder: Path) -> None:
    """Such a set, of one file."""
    known = {
        "state.json": {"_data_files": [{"filename": "a.arrow"}]},
        "dataset_info.json": {"features": FEATURES},
    }
    for name, value in known.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "a.arrow").write_bytes(content)
    data.open(folder, split="all", workers=0)


def of_a_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], None]:
    """A reader of a path from one of bytes."""

    def reading(content: bytes, folder: Path) -> None:
        (folder / name).write_bytes(content)
        read(folder / name)

    return reading


def parsed(content: bytes) -> None:
    """The codec's files; no name lies outside a folder."""
    for name in parse(content).names:
        assert not os.path.isabs(name) and ".." not in Path(name).parts


def captions_of(path: Path) -> None:
    """Captions of two pictures by a table, or of one by a text beside it."""
    pictures = ["a.png", "b.png"]
    read_captions(path.parent, [path.name, *pictures], pictures, pictures)


RUN = {"kind": "two_stage", "config": {"data": {"source": "x", "size": 16}}, "data_fingerprint": "ab"}
COMPARED = {"comparison": "estimators", "settings": {}, "agreed": {}, "rows": {}}
READERS: dict[str, Reader] = {
    "pictures": Reader(pictures, lambda content, folder: decoding.decode(content, 8, 3)),
    "probe": Reader(pictures, lambda content, folder: decoding.probe(content)),
    "exact": Reader(pictures, of_a_file("a", every_pixel)),
    "masks": Reader(pictures, of_a_file("a.png", lambda path: read_masks(path.parent, ["a.png"], 8))),
    "npz": Reader(arrays, of_a_file("a.npz", data.open)),
    "idx": Reader(lambda: [bytes((0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3)) + bytes(18)],
                  of_a_file("a-images-idx3-ubyte", lambda path: read_idx(path, 3))),
    "tar": Reader(shards, of_a_file("a.tar", lambda path: data.open(path, workers=0))),
    "csv": Reader(lambda: [b'file,caption\na.png,"a, b"\nb.png,c d\n'],
                  of_a_file(CAPTIONS, lambda path: captions_of(path))),
    "jsonl": Reader(lambda: [b'{"file_name": "a.png", "text": "a"}\n{"file_name": "b.png", "text": ["c"]}\n'],
                    of_a_file("metadata.jsonl", lambda path: captions_of(path))),
    "texts": Reader(lambda: [b"a b\nc d\n"], of_a_file("a.txt", lambda path: captions_of(path))),
    "yaml": Reader(lambda: [yaml.safe_dump(RUN).encode()],
                   of_a_file("run.yaml", lambda path: RunFolder(path.parent).describe())),
    "json": Reader(lambda: [json.dumps({"config": {"a": 1}, "tokenizer": "x"}).encode()],
                   of_a_file("a.json", lambda path: read_description(path.with_suffix("")))),
    "comparison": Reader(lambda: [json.dumps(COMPARED).encode()],
                         of_a_file("comparison.json", lambda path: load_comparison(path, COMPARISONS))),
    "config": Reader(lambda: [b'{"sample_size": 32, "act_fn": "silu", "norm_num_groups": 8}'],
                     of_a_file("config.json", lambda path: settings_beside(path.parent / "a.ckpt"))),
    "safetensors": Reader(stores, of_a_file("a.safetensors", lambda path: CodeStore.load(path, "t"))),
    "foreign": Reader(lambda: [save({"a.b": torch.ones(2)})], of_a_file("a.safetensors", read_foreign)),
    "pickles": Reader(checkpoints, of_a_file("a.pt", read_foreign)),
    "checkpoints": Reader(checkpoints, of_a_file("last.pt", lambda path: Checkpoints(path.parent).load())),
    "archives": Reader(archives, lambda content, folder: parsed(content)),
}  # fmt: skip
if importlib.util.find_spec("pyarrow"):
    READERS["arrow"] = Reader(tables, table)
"""Name → reader."""

WORDS = (b"\0", b"\xff", b'"', b"{", b"[", b"-", b"&a *a", b"\n", b"1e999", b"nan")
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1)


def changed(seeds: list[bytes], chance: random.Random) -> bytes:
    """A file of the seeds with up to eight changes."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 8)):
        at, length = chance.randrange(len(content) + 1), chance.choice((1, 2, 4, 8, 16, 64))
        match chance.randrange(8):
            case 0 if at < len(content):
                content[at] ^= 1 << chance.randrange(8)
            case 1:
                content[at : at + length] = chance.randbytes(length)
            case 2:
                size = chance.choice((1, 2, 4, 8))
                number = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
                content[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))
            case 3:
                del content[at : at + length]
            case 4:
                content[at:at] = content[at : at + length] * chance.randint(1, 4)
            case 5:
                other = chance.choice(seeds)
                first = chance.randrange(len(other))
                content[at : at + length] = other[first : first + length]
            case 6:
                content[at:at] = chance.choice(
                    (b"\0", b"\xff", b'"', b"{", b"[", b"-", b"&a *a", b"\n", b"1e999", b"nan")
                )
            case 7 if chance.random() < 0.2:
                del content[at:]
    return bytes(content)


def tried(reader: Reader, content: bytes, folder: Path) -> str:
    """`read`, `refused`, or a failure in words."""

    def late(number, frame):
        raise TimeoutError

    signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)  # of this process, however busy the machine is
    try:
        reader.read(content, folder)
        return "read"
    except (UserError, decoding.BadPicture):
        return "refused"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def fuzz(name: str, seconds: float, seed: int, most: int = 1 << 60) -> collections.Counter[str]:
    """Outcomes of inputs made up for one reader; those that fail are kept, one of each failure."""
    reader, chance, outcomes = READERS[name], random.Random(f"{name} {seed}"), collections.Counter()
    seeds, end = reader.seeds(), time.monotonic() + seconds
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        while time.monotonic() < end and sum(outcomes.values()) < most:
            content = changed(seeds, chance)
            outcome = tried(reader, content, Path(folder))
            if outcome not in outcomes and outcome not in ("read", "refused"):
                path = CORPUS / name / hashlib.sha256(content).hexdigest()[:12]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            outcomes[outcome] += 1
    return outcomes


def limit_memory() -> None:
    """No input may take more than `MEMORY`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> int:
    """A table of readers, and 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for all readers together")
    parser.add_argument("--reader", action="append", choices=READERS, help="one reader, or several")
    parser.add_argument("--inputs", type=int, help="for each reader, instead of seconds")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    limit_memory()
    names, failed = asked.reader or list(READERS), False
    print(f"{'reader':<12} {'inputs':>8} {'read':>8} {'refused':>8}  failures")
    for name in names:
        seconds = asked.seconds / len(names) if asked.inputs is None else math.inf
        found = fuzz(name, seconds, asked.seed, asked.inputs or 1 << 60)
        failures = {outcome: count for outcome, count in found.items() if outcome not in ("read", "refused")}
        failed |= bool(failures)
        shown = ", ".join(f"{count} × {outcome}" for outcome, count in failures.items()) or "none"
        print(
            f"{name:<12} {sum(found.values()):>8} {found['read']:>8} {found['refused']:>8}  {shown}",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
