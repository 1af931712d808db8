"""Which processor this is, as far as it may change a time."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_DEVICE_TREE = Path("/proc/device-tree/model")
_CPUS = Path("/sys/devices/system/cpu")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}

_VECTOR_INSTRUCTIONS = re.compile(r"avx\w*|fma|f16c|amx\w*|asimd\w*|sve\w*|i8mm|bf16|fphp")
"""Those that convolution kernels are chosen by, on x86 and Arm."""


def cpu_name(cpuinfo: str | None = None) -> str:
    """The model's name as the system reports it: `Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz`, `NVIDIA Orin Nano` …"""
    name = _field("model name", _read(_CPUINFO) if cpuinfo is None else cpuinfo)
    return name or _read(_DEVICE_TREE).rstrip("\0\n") or platform.processor() or platform.machine()


def cpu_revision(cpuinfo: str | None = None) -> str:
    """Tells apart processors that a hypervisor calls by one name: `family 6 model 167 stepping 1`; empty where not reported."""
    text = _read(_CPUINFO) if cpuinfo is None else cpuinfo
    x86 = {"family": "cpu family", "model": "model", "stepping": "stepping"}
    arm = {"implementer": "CPU implementer", "part": "CPU part", "revision": "CPU revision"}
    return " ".join(f"{label} {value}" for label, name in (x86 | arm).items() if (value := _field(name, text)))


def vector_instructions(cpuinfo: str | None = None) -> str:
    """The instruction sets that convolution kernels are chosen by, sorted: `avx avx2 avx512_vnni avx512f fma`."""
    text = _read(_CPUINFO) if cpuinfo is None else cpuinfo
    flags = (_field("flags", text) or _field("Features", text)).split()
    return " ".join(sorted(flag for flag in flags if _VECTOR_INSTRUCTIONS.fullmatch(flag)))


def last_level_cache_bytes(cpus: Path = _CPUS) -> int | None:
    """Size of the largest cache of a core that this process may run on; None where the system does not report it."""
    found = []
    for core in usable_cores():
        for cache in (cpus / f"cpu{core}" / "cache").glob("index*"):
            size = _read(cache / "size").strip()
            if _read(cache / "type").strip() != "Instruction" and size[:-1].isdecimal() and size[-1] in _UNITS:
                found.append(int(size[:-1]) * _UNITS[size[-1]])
    return max(found, default=None)


def usable_cores() -> tuple[int, ...]:
    """Cores that this process may run on, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _field(name: str, cpuinfo: str) -> str:
    found = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", cpuinfo, flags=re.MULTILINE)
    return found.group(1).strip() if found else ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
