"""The loop of a run: rows that are missing are made one by one, and a bar shows how far it is."""

import pathlib
import platform
from collections.abc import Callable

import keras
import numpy as np
import rows
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import keras_stn


def make(
    jobs: list[dict],
    path: pathlib.Path,
    row_of: Callable[[dict], dict | None],
    title: Callable[[dict], str],
    console: Console | None = None,
) -> list[dict]:
    """Make the rows of `jobs` that are missing in the file `path`; returns all of them that stand.

    Args:
        jobs: What each row is of.
        path: Of a file of rows; it and its folder are made if need be.
        row_of: Makes the row of a job. It returns None where the time is over: that ends the loop.
        title: Of a job, shown beside the bar.
        console: Where the progress is shown; the terminal by default.
    """
    console = console or Console()
    path.parent.mkdir(parents=True, exist_ok=True)
    standing = rows.read(path)
    made_by = {module.__name__: module.__version__ for module in (keras_stn, tf, keras, np)}
    made_by["python"] = platform.python_version()
    columns = TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(jobs))
        for job in jobs:
            progress.update(bar, description=title(job))
            if rows.of(standing, job) is None:
                keras.backend.clear_session()  # hundreds of models would stay in memory
                row = row_of(job)
                if row is None:
                    break
                standing.append({**job, **row, "versions": made_by})
                rows.append(path, standing[-1])
            progress.advance(bar)
    found = [row for job in jobs if (row := rows.of(standing, job)) is not None]
    console.print(f"{len(found)} of {len(jobs)} rows stand in {path}", soft_wrap=True, highlight=False)
    return found
