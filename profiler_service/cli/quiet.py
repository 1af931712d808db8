"""Before a command measures: what it says of the machine, and waiting until that is quiet."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from models.terminal import people
from profiler_service.conditions import Conditions, look

if TYPE_CHECKING:
    from profiler_service.settings import Settings

CHECK_EVERY_S = 5.0
"""Between two looks while waiting."""

QUIET_LOOKS = 2
"""In a row, after which a machine that was busy counts as quiet: other work may pause."""

TELL_EVERY_S = 60.0
"""Between two lines while waiting."""

_SLICE_S = 0.2
"""After so long a signal is heeded."""


class Start:
    """Looks at the machine before the jobs of one command, and says to people what it found; nothing twice.

    Args:
        wait_minutes: for how long to wait, all in all, for a machine that is quiet; None for not at all.
        look_around: at the machine; by default `look`.
        clock: seconds that only run forward.
        sleep: for so many seconds.
    """

    def __init__(
        self,
        wait_minutes: float | None = None,
        *,
        look_around: Callable[[], Conditions] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._left_s = (wait_minutes or 0.0) * 60
        self._waits = wait_minutes is not None
        self._look, self._clock, self._sleep = look_around or look, clock, sleep
        self._said: set[str] = set()

    def begin(self, settings: Settings, interrupted: Callable[[], bool]) -> None:
        """Say what will disturb measuring, and wait if that is wanted.

        On a GPU the processor's other work hardly counts: it is said, and nothing is waited for.

        Raises:
            typer.Exit: it was interrupted.
        """
        from profiler_service.backends.registry import kind_meant

        if kind_meant(settings.backend, settings.device) == "cuda":
            found = self._look()
            if found.busy:
                self._say(f"for information: {found.busy}; on a GPU the device's clock counts")
        else:
            if self._waits:
                self._wait(interrupted)
            for warning in () if interrupted() else self._look().warnings(settings.threads):
                self._say(f"warning: {warning}")
        if interrupted():
            self._say("interrupted before anything was measured")
            raise typer.Exit(128 + signal.SIGINT)

    def _wait(self, interrupted: Callable[[], bool]) -> None:
        """Until the machine is quiet, the time is up, or it is interrupted."""
        begun_s = told_s = self._clock()
        found, quiet = self._look(), 0
        if not found.busy:
            return
        self._say(f"waiting up to {_minutes(self._left_s)} for the machine to be quiet: {found.busy}")
        while not interrupted():
            now_s = self._clock()
            if now_s - begun_s >= self._left_s:
                self._say(f"the machine is still busy after {_minutes(self._left_s)}; measuring all the same")
                self._left_s = 0.0
                return
            if found.busy and now_s - told_s >= TELL_EVERY_S:
                told_s = now_s
                self._say(f"{_minutes(begun_s + self._left_s - now_s)} left to wait: {found.busy}")
            self._pause(interrupted)
            found = self._look()
            quiet = 0 if found.busy else quiet + 1
            if quiet == QUIET_LOOKS:
                self._left_s -= self._clock() - begun_s
                self._say(f"quiet after {self._clock() - begun_s:.0f} s; measuring")
                return

    def _pause(self, interrupted: Callable[[], bool]) -> None:
        until_s = self._clock() + CHECK_EVERY_S
        while self._clock() < until_s and not interrupted():
            self._sleep(_SLICE_S)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            people().print(text, markup=False)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds >= 60 else f"{seconds:.0f} s"
