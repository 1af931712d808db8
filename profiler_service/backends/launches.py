"""How many runs stand in a device's queue at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from profiler_service.backends.blocking_kernel import BlockingKernelTimer


def time_runs(timer: BlockingKernelTimer, enqueues: Sequence[Callable[[], None]], *, captured: bool) -> list[float]:
    """Milliseconds of each run, in order; see `BlockingKernelTimer.time`.

    Captured runs are one launch each and stand in the queue together. Otherwise each gets a head start of its own: a network
    has a hundred kernels and more, and the driver makes the host wait once about a thousand launches are queued.
    """
    if captured:
        return timer.time(enqueues)
    return [time_ms for enqueue in enqueues for time_ms in timer.time([enqueue])]
