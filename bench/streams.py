"""Streams of tar shards: pictures a second beside the decoder and other readers; memory of a long one."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import itertools
import multiprocessing
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from bench.measure import in_a_process, table
from caselli.cli.pages import keep_pages

SIDE, SHARDS, EACH, BATCH, WARM = 256, 8, 256, 32, 20
MILLION, PARTS = 1_000_000, 64


@dataclasses.dataclass(frozen=True)
class MadeShards:
    """Shards of as many pictures as one likes, listed on the fly: all of them lie in one small shard."""

    places: tuple[Any, ...]
    counts: tuple[int, ...]
    name: str = "made"
    classes: tuple[str, ...] = ()
    captioned: bool = False
    whites: tuple[int, int] = (0, 0)
    fingerprint: str = "0" * 16

    def listing(self, shard: int) -> Sequence[dict[str, Any]]:
        """The pictures of a shard, its number among their names."""
        return _Made(self.places, shard, self.counts[shard])


@dataclasses.dataclass(frozen=True)
class _Made(Sequence):
    places: tuple[Any, ...]
    shard: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        place = self.places[(self.shard * 7919 + i) % len(self.places)]
        return {"name": f"{self.shard}/{i}", "location": place}


def written(folder: Path, shards: int = SHARDS, each: int = EACH, side: int = SIDE) -> str:
    """Shards of JPEGs that look like photographs to a decoder: smooth, with some noise."""
    from PIL import Image

    random = torch.Generator().manual_seed(0)
    for shard in range(shards):
        with tarfile.open(folder / f"part-{shard:03}.tar", "w") as archive:
            for i in range(each):
                low = torch.rand(1, 3, side // 8, side // 8, generator=random)
                picture = torch.nn.functional.interpolate(low, size=side, mode="bicubic")[0]
                picture = picture + 0.05 * torch.randn(3, side, side, generator=random)
                pixels = picture.clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy()
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "JPEG", quality=90)
                member = tarfile.TarInfo(f"{shard:03}{i:05}.jpg")
                member.size = file.tell()
                file.seek(0)
                archive.addfile(member, file)
    return str(folder)


def memory(steps: int = 500, first: int = 100, batch: int = 32, side: int = 32) -> list[tuple[int, int]]:
    """Resident bytes of a training on a stream of a million pictures: (step, bytes), every `first` steps."""
    from caselli.data import Batches, PictureStream, open_shards
    from caselli.engine import Fit, TrainingConfig
    from caselli.tokenizer import Tokenizer, TokenizerConfig, TokenizerTask

    found = []
    with tempfile.TemporaryDirectory() as folder:
        shards = open_shards(written(Path(folder), 1, 64, side))
        places = tuple(sample["location"] for sample in shards.listing(0))
        made = MadeShards(places, (MILLION // PARTS,) * PARTS)
        batches = Batches(PictureStream(made, side, 3), batch)
        options = {"codebook_size": 64}
        task = TokenizerTask(Tokenizer(TokenizerConfig(width=16, latent_width=8, quantizer_options=options)))

        def until(fit: Fit) -> bool:
            if fit.step % first == 0:
                found.append((fit.step, _resident()))
            return False

        Fit(task, batches, TrainingConfig(steps=steps, batch=batch)).run(until)
    return found


MAPS, MAP = 10_000_000, (4, 4)


def maps(count: int = MAPS, shards: int = PARTS) -> tuple[float, float, int, int]:
    """Seconds to open so many code maps in shards and to give the first batch, and bytes of memory that these
    and a hundred batches take: of the process alone, and with pages of the files, which the system may drop.
    """
    import numpy as np

    from caselli.data import CodeStore, finish_shards, write_shard

    facts = {"tokenizer": "t", "data": "d", "classes": ()}
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        for number in range(shards):
            codes = torch.from_numpy(random.integers(256, size=(count // shards, *MAP), dtype=np.uint8))
            write_shard(folder, number, CodeStore(codes, sizes=(256,), **facts))
        finish_shards(folder, shards, sizes=(256,), **facts)
        return in_a_process(_opened, folder)


def _opened(folder: str) -> tuple[float, float, int, int]:
    from caselli.data import Batches, CodeShards

    own, whole, begin = _own(), _resident(), time.perf_counter()
    opened = CodeShards(folder, None)
    seconds = time.perf_counter() - begin
    stream = Batches(opened, 256).stream()
    next(stream)
    first = time.perf_counter() - begin
    for _ in range(100):
        next(stream)
    return seconds, first, _own() - own, _resident() - whole


def _own() -> int:
    """Resident bytes that are no pages of files."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _rate(pictures: Iterator[int], seconds: float = 2.0) -> float:
    """Pictures a second of what yields numbers of them, after the first."""
    next(pictures)
    begin, count = time.perf_counter(), 0
    for number in pictures:
        count += number
        if time.perf_counter() - begin > seconds:
            break
    return count / (time.perf_counter() - begin)


def _ours(folder: str, workers: int) -> Iterator[int]:
    from caselli.data import PictureStream, open_shards

    stream = PictureStream(open_shards(folder), SIDE, 3, workers=workers)
    order = stream.order(BATCH, 0, 0, 1)
    return (len(read.pixels) for read in stream.stream(map(order.at, itertools.count())))


def _decoder(folder: str, workers: int) -> Iterator[int]:
    """The decoder alone, on pictures that are in memory."""
    from caselli.data import open_shards

    data = [sample["location"].read() for sample in open_shards(folder).listing(0)]
    return (_decoded(data[first : first + BATCH]) for first in itertools.cycle(range(0, len(data), BATCH)))


def _decoded(data: Sequence[bytes]) -> int:
    from caselli.decoding import decode

    return sum(len(decode(one, SIDE, 3)) > 0 for one in data)


def _webdataset(folder: str, workers: int) -> Iterator[int]:
    import webdataset

    paths = sorted(map(str, Path(folder).glob("*.tar")))
    read = webdataset.WebDataset(paths, shardshuffle=False).repeat().shuffle(1000).decode("rgb8")
    batched = read.to_tuple("jpg").batched(BATCH)
    loader = webdataset.WebLoader(batched, batch_size=None, num_workers=workers)
    return (len(batch[0]) for batch in loader)


class _Files(torch.utils.data.Dataset):
    """A list of all pictures with their places, decoded by Pillow."""

    def __init__(self, folder: str) -> None:
        from caselli.data import open_shards

        shards = open_shards(folder)
        self.places = [one["location"] for i in range(len(shards.counts)) for one in shards.listing(i)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> torch.Tensor:
        import numpy as np
        from PIL import Image

        image = Image.open(io.BytesIO(self.places[i].read())).convert("RGB")
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _loader(folder: str, workers: int) -> Iterator[int]:
    loader = torch.utils.data.DataLoader(_Files(folder), BATCH, shuffle=True, num_workers=workers)
    return (len(batch) for _ in itertools.count() for batch in loader)


ALONE = "the decoder alone"
READERS: dict[str, Callable[[str, int], Iterator[int]]] = {
    ALONE: _decoder,
    "PictureStream": _ours,
    "webdataset": _webdataset,
    "DataLoader": _loader,
}
"""Readers of the same shards, all by Pillow, all to bytes."""


TURNS = 8
"""Turns of each reader with workers, each in processes of its own: where the blocks of a heap lie to each
other changes the pace of Pillow's decoder by up to a quarter."""


def beside(name: str, folder: str, seconds: float = 8.0, batches: int = 4) -> tuple[float, float]:
    """Pictures a second of a reader without workers, and of the decoder alone, by turns in one process, whose
    heap is the same for both: medians of turns of some batches."""
    keep_pages()  # as the command `caselli` does
    readers = READERS[name](folder, 0), READERS[ALONE](folder, 0)
    rates: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for found, reader in zip(rates, readers, strict=True):
            begin = time.perf_counter()
            count = sum(itertools.islice(reader, batches))
            found.append(count / (time.perf_counter() - begin))
    return statistics.median(rates[0]), statistics.median(rates[1])


def with_workers(folder: str, workers: int, turns: int = TURNS) -> dict[str, float]:
    """Pictures a second of each reader, means over turns, one reader after the other; as many decoders as
    workers run side by side."""
    rates: dict[str, list[float]] = {name: [] for name in READERS}
    for name in list(READERS) * turns:
        processes = workers if name == ALONE else 1
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                found = pool.map(_measured, *zip(*[(name, folder, workers)] * processes, strict=True))
                rates[name].append(sum(found))
            except ImportError:
                print(f"{name} is not installed")
    return {name: statistics.mean(found) for name, found in rates.items() if found}


def _measured(name: str, folder: str, workers: int) -> float:
    keep_pages()
    return _rate(itertools.islice(READERS[name](folder, workers), WARM, None))


def readers() -> None:
    """Prints the pace of each reader, in the process itself and with a worker for each core."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    with tempfile.TemporaryDirectory() as made:
        folder, lines = written(Path(made)), []
        for name in READERS:
            if name != ALONE and (name != "webdataset" or importlib.util.find_spec(name)):
                rate, alone = in_a_process(beside, name, folder)
                lines.append((name, f"{rate:,.0f}", f"{alone:,.0f}", f"{rate / alone:.2f}"))
        rates = with_workers(folder, workers)
    table(("reader in the process itself", "pictures/s", "the decoder alone in turn with it", "share"), lines)
    print()
    lines = [(name, f"{rate:,.0f}", f"{rate / rates[ALONE]:.2f}") for name, rate in rates.items()]
    table((f"reader with {workers} workers", "pictures/s", "of as many decoders"), lines)


def run() -> None:
    """Prints pictures a second of each reader, and the memory of a stream of a million pictures and of ten
    million code maps."""
    readers()
    print()
    lines = [(f"step {step}", f"{resident / 2**20:,.0f}") for step, resident in in_a_process(memory)]
    table((f"{MILLION:,} pictures in {PARTS} shards", "resident MB"), lines)
    print()
    seconds, first, own, whole = maps()
    line = (f"{seconds:.2f}", f"{first:.2f}", f"{own / 2**20:,.0f}", f"{whole / 2**20:,.0f}")
    table((f"{MAPS:,} code maps: seconds to open", "first batch after", "MB", "MB with pages"), [line])
