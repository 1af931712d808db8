"""Other work, made on purpose: processes that keep cores or memory busy, on and off, to see what they do to measuring.

    python scripts/noise.py --cores 0 --kind memory --on 5 --off 5 --seconds 60

They end by themselves, on SIGTERM and on Ctrl-C, and with the process that started them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal, NoReturn, get_args

import numpy as np

Kind = Literal["cpu", "memory"]

LAST_LEVEL_BYTES = 2**26
"""Of a cache whose size is not told."""

_SLICE_S = 0.02
"""Work between two looks at the clock."""


@contextmanager
def noise(
    cores: Sequence[int], kind: Kind = "cpu", *, on_s: float = 60.0, off_s: float = 0.0, seconds: float = 600.0
) -> Iterator[tuple[int, ...]]:
    """One busy process on each of the cores while the block runs, `seconds` at the most; gives their process ids.

    Args:
        cores: numbers of cores; a number that is given twice gets two processes.
        kind: `cpu` counts; `memory` streams over an array that no cache holds.
        on_s: busy for so long,
        off_s: then idle for so long, and again.
        seconds: after which they end in any case.
    """
    spawned = multiprocessing.get_context("spawn")
    ready = spawned.Barrier(len(cores) + 1)
    workers = [spawned.Process(target=_work, args=(core, kind, on_s, off_s, seconds, ready), daemon=True) for core in cores]
    try:
        for worker in workers:
            worker.start()
        ready.wait(60)
        yield tuple(worker.pid or 0 for worker in workers)
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.kill()
                worker.join()


def _work(core: int, kind: Kind, on_s: float, off_s: float, seconds: float, ready: threading.Barrier) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    array = np.zeros(2 * _last_level_bytes() // 8 if kind == "memory" else 1)
    ready.wait(60)
    begun_s = time.monotonic()
    while (now_s := time.monotonic() - begun_s) < seconds:
        into_s = now_s % (on_s + off_s)
        if into_s >= on_s:
            time.sleep(min(on_s + off_s - into_s, seconds - now_s))
        elif kind == "memory":
            np.add(array, 1.0, out=array)
        else:
            _count(_SLICE_S)


def _count(seconds: float) -> None:
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


def _end_with(parent: multiprocessing.process.BaseProcess) -> NoReturn:
    parent.join()
    os._exit(1)


def _last_level_bytes() -> int:
    names = ("SC_LEVEL4_CACHE_SIZE", "SC_LEVEL3_CACHE_SIZE", "SC_LEVEL2_CACHE_SIZE")
    known = getattr(os, "sysconf_names", {})
    return max((os.sysconf(name) for name in names if name in known), default=0) or LAST_LEVEL_BYTES


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cores", type=int, nargs="+", default=[0], help="one busy process on each")
    parser.add_argument("--kind", choices=get_args(Kind), default="cpu", help="what keeps it busy")
    parser.add_argument("--on", type=float, default=60.0, metavar="S", help="seconds of work …")
    parser.add_argument("--off", type=float, default=0.0, metavar="S", help="… and of rest, in turn")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="all in all")
    options = parser.parse_args()
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    if unusable := sorted(set(options.cores) - set(usable)):
        parser.error(f"--cores {unusable[0]}: this process may use {', '.join(map(str, sorted(usable)))}")
    if options.on <= 0 or options.off < 0 or options.seconds <= 0:
        parser.error("--on and --seconds must be above zero, --off not below")
    return options


def main() -> int:
    """0 when the time is up, 130 where it was interrupted."""
    options = _parse()

    def leave(number: int, frame: object) -> NoReturn:
        sys.exit(128 + signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGINT):  # which is ignored in what a shell starts in the background
        signal.signal(number, leave)
    with (
        suppress(BrokenPipeError),
        noise(options.cores, options.kind, on_s=options.on, off_s=options.off, seconds=options.seconds) as pids,
    ):
        print(f"{options.kind} noise on cores {', '.join(map(str, options.cores))}: {' '.join(map(str, pids))}", flush=True)
        time.sleep(options.seconds)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
