"""Timing a run of a file."""

import statistics
import time
from collections.abc import Callable


def median_ms(run: Callable[[], object], seconds: float = 0.3) -> float:
    """The median time of one run, over as many as fit into `seconds`, at least five."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
