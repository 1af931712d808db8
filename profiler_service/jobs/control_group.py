"""The control group that bounds this process's time on the CPU; version 1 and version 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class ControlGroup:
    """Every group around the process may have a quota of its own.

    Attributes:
        folders: of the CPU controller, the innermost group first; none where there are no control groups.
    """

    folders: tuple[Path, ...]

    @classmethod
    def of_this_process(cls, root: Path = ROOT, membership: Path = _MEMBERSHIP) -> Self:
        """The group that the system names; a container that does not see the names of its groups sees its own as the root."""
        base, path = _cpu_controller(root, _lines(membership))
        within = base / path.lstrip("/")
        if not within.is_dir():
            within = base
        return cls(tuple(folder for folder in (within, *within.parents) if folder.is_relative_to(base) and folder.is_dir()))

    def quota_cores(self) -> float | None:
        """How many cores' worth of time the process may use; None for no bound, and where nobody tells."""
        return min((cores for folder in self.folders if (cores := _quota(folder)) is not None), default=None)

    def throttled(self) -> int | None:
        """How often a quota has stopped the group's processes so far; None where nobody tells."""
        found = [count for folder in self.folders if (count := _stops(folder)) is not None]
        return sum(found) if found else None


def _cpu_controller(root: Path, membership: list[str]) -> tuple[Path, str]:
    """Where the groups of the CPU controller are, and the path of this process's group below it."""
    groups = [line.split(":", 2) for line in membership if line.count(":") >= 2]
    for _, controllers, path in groups:
        if "cpu" in controllers.split(","):
            return next((found for found in (root / controllers, root / "cpu") if found.is_dir()), root / "cpu"), path
    return root, next((path for _, controllers, path in groups if not controllers), "/")


def _quota(folder: Path) -> float | None:
    for name, period_name in (("cpu.max", ""), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        words = [*_words(folder / name), *(_words(folder / period_name) if period_name else ())]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
            return int(words[0]) / int(words[1])
    return None  # `max`, -1, or no such file


def _stops(folder: Path) -> int | None:
    for line in _lines(folder / "cpu.stat"):
        name, _, count = line.partition(" ")
        if name == "nr_throttled" and count.isdecimal():
            return int(count)
    return None


def _words(path: Path) -> Iterator[str]:
    for line in _lines(path):
        yield from line.split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
