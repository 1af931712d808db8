"""A service ends in time, whatever it still does."""

from __future__ import annotations

import signal
import threading

import pytest

from profiler_service.cli.stop_deadline import StopDeadline, orderly_seconds

PATIENCE_S = 20.0


class EndedError(BaseException):
    """Stands for the end of the process."""


class Stop:
    """A deadline, and what it has done."""

    def __init__(self, timeout_s: float) -> None:
        self.done: list[str] = []
        self.ended = threading.Event()
        self.deadline = StopDeadline(
            timeout_s,
            on_begin=lambda: self.done.append("begin"),
            on_end=lambda: self.done.append("end"),
            end=self._end,  # type: ignore[arg-type]
        )

    def _end(self, code: int) -> None:
        self.done.append(str(code))
        self.ended.set()
        if threading.current_thread() is threading.main_thread():
            raise EndedError
        return


def test_the_process_is_ended_when_the_time_is_over() -> None:
    stop = Stop(0.01)
    stop.deadline.signalled(signal.SIGTERM)
    assert stop.ended.wait(PATIENCE_S)
    assert stop.done == ["begin", "end", "0"]


def test_a_second_signal_ends_it_at_once() -> None:
    stop = Stop(PATIENCE_S)
    stop.deadline.signalled(signal.SIGTERM)
    assert stop.done == ["begin"]
    with pytest.raises(EndedError):
        stop.deadline.signalled(signal.SIGTERM)
    assert stop.done == ["begin", "end", "143"]
    assert stop.deadline._timer is not None
    stop.deadline._timer.cancel()


@pytest.mark.parametrize(("timeout_s", "expected_s"), [(10.0, 7.0), (60.0, 57.0), (1.0, 0.5)])
def test_what_is_under_way_is_cut_off_before(timeout_s: float, expected_s: float) -> None:
    assert orderly_seconds(timeout_s) == expected_s
