"""A click on a code in the studio: milliseconds until the server has answered, on the demo's run."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

RUN, REPEATS, WANTED = Path("demo"), 30, 100
"""The run that `caselli demo` makes, clicks of each kind, and milliseconds that one may take."""


def run() -> None:
    """Prints the median and the longest time of each request that a click makes."""
    if not (RUN / "prior.json").exists():
        print(f"  there is no {RUN}: make it with `caselli demo`")
        return
    from starlette.testclient import TestClient

    from caselli.studio import create_app

    app = create_app(RUN, "bench", "127.0.0.1", 7865)
    client = TestClient(app, base_url="http://127.0.0.1:7865", headers={"x-token": "bench"})
    held_out = client.get("/api/codes/held_out", params={"run": ".", "count": 1}).json()["pictures"][0]
    picture = {"run": ".", "codes": held_out["codes"], "label": held_out["label"]}
    count = len(held_out["codes"])
    kinds = {
        "alternatives": lambda n: ("codes/alternatives", picture | {"place": n % count}),
        "a code put in": lambda n: ("codes/look", picture),
        "occurrences": lambda n: ("codes/occurrences", {"run": ".", "code": held_out["codes"][n % count]}),
    }
    for name, asked in kinds.items():
        times = []
        for number in range(REPEATS + 3):
            path, body = asked(number)
            begin = time.perf_counter()
            client.post(f"/api/{path}", json=body).raise_for_status()
            times.append(1000 * (time.perf_counter() - begin))
        median, longest = statistics.median(times[3:]), max(times[3:])
        print(f"  {name:<16}{median:6.1f} ms, at most {longest:6.1f} (wanted: {WANTED})")
