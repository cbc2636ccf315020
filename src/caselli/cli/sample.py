"""`caselli sample RUN -n 16 -o FILE.png`."""

from __future__ import annotations

import sys
import time

from caselli.cli.parser import add_out, add_run, free, is_picture, parser


def run(arguments: list[str]) -> None:
    """Parses, samples, writes a grid or a folder of pictures."""
    options = parser("sample", "Makes new pictures.")
    add_run(options)
    options.add_argument("-n", "--count", type=int, default=16, help="how many (16)")
    options.add_argument("--label", help="a class; several with commas between, taken in turn; none: any")
    options.add_argument("--seed", type=int, default=0, help="picture i is drawn with seed + i (0)")
    options.add_argument("--temperature", type=float, default=1.0, help="1 as learned, 0 the likeliest (1)")
    options.add_argument("--top-k", type=int, default=0, help="only the k likeliest codes (0: all)")
    options.add_argument("--top-p", type=float, default=1.0, help="only the likeliest that hold p (1: all)")
    options.add_argument("--batch", type=int, default=64, help="pictures at a time (64)")
    add_out(options, "FILE.png for a grid, or a folder for a file each")
    given = options.parse_args(arguments)
    out = free(given.out, given.overwrite)

    from caselli.model import load
    from caselli.report import grid, save_png

    model = load(given.run)
    labels = _labels(given.label, given.count, model.classes)
    tokens = max(1, given.count) * model.grid.length
    start = time.perf_counter()
    with _bar(tokens) as bar:
        pictures = model.sample(
            given.count,
            label=labels,
            seed=given.seed,
            temperature=given.temperature,
            top_k=given.top_k,
            top_p=given.top_p,
            batch=given.batch,
            progress=bar.update,
        )
    seconds = time.perf_counter() - start
    text = {"run": str(given.run), "temperature": str(given.temperature)}
    if is_picture(out):
        save_png(grid(pictures, labels=labels), out, {**text, "seed": str(given.seed)})
    else:
        for number, picture in enumerate(pictures):
            about = {**text, "seed": str(given.seed + number), "label": labels[number] if labels else ""}
            save_png(grid(picture[None], scale=1, gap=0), out / f"{number:05}.png", about)
    print(f"{given.count} pictures in {out}, {tokens / seconds:.0f} tokens per second", file=sys.stderr)


def _labels(label: str | None, count: int, classes: tuple[str, ...]) -> list[str] | None:
    if label is None:
        return None
    asked = [label] if label in classes else label.split(",")
    return [asked[i % len(asked)] for i in range(max(0, count))]


def _bar(tokens: int):
    from tqdm import tqdm

    return tqdm(total=tokens, unit="token", unit_scale=True, disable=not sys.stderr.isatty())
