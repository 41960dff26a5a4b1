"""Many downloads at a time, with a progress bar; the first that fails ends all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

__all__ = ["WORKERS", "each_once"]

WORKERS = 8
"""Downloads at a time."""

_Wanted = TypeVar("_Wanted")
_Got = TypeVar("_Got")


def each_once(
    get: Callable[[_Wanted], _Got],
    wanted: Iterable[_Wanted],
    *,
    label: str,
    workers: int = WORKERS,
    progress: bool = True,
) -> list[_Got]:
    """What `get` returns for each different thing, in the order given.

    Args:
        get: called in threads.
        wanted: repetitions are left out.
        label: of the progress bar.
        workers: calls at a time.
        progress: show a bar, unless there is nothing to do.

    Raises:
        Exception: what the first failing call raises. Calls that have not begun are dropped, those
            that have end first.
    """
    from tqdm import tqdm

    different = list(dict.fromkeys(wanted))
    with (
        ThreadPoolExecutor(max_workers=workers) as pool,
        tqdm(total=len(different), desc=label, disable=not (progress and different)) as bar,
    ):
        jobs = [pool.submit(get, one) for one in different]
        try:
            for job in as_completed(jobs):
                job.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [job.result() for job in jobs]
