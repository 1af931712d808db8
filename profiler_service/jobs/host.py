"""What else the machine is doing."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def host_load() -> float:
    """Processes that run or wait for a core, averaged over the last minute."""
    return float(psutil.getloadavg()[0])


def free_memory_bytes() -> int:
    """Memory that can be had without swapping: what the machine has, or what is left of the container's limit."""
    return min(int(psutil.virtual_memory().available), _container_bytes(_CGROUP))


def _container_bytes(cgroup: Path) -> int:
    """What a control group leaves free; more than any machine has where there is no limit. Files of its page cache can be
    dropped, and count as free.
    """
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no control groups here, or the limit is `max`
        return 2**62
    return max(limit - used + int(statistics.get("inactive_file", 0)), 0)
