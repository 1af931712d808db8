"""What TensorRT learned about kernels' times: makes builds fast, and the next one choose as the last one did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from models.spec.base import digest
from profiler_service.backends.device.base import DeviceInfo
from profiler_service.errors import BuildError

LOCK_TIMEOUT_S = 60.0

Combine = Callable[[bytes], bytes]
"""From what is kept to what is to be kept."""


class TimingCache:
    """Serialised timing caches of one device and one version, in a file that processes share, or in memory alone.

    Args:
        path: the file; None for none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._kept = b""

    @classmethod
    def of(cls, directory: Path | None, *, version: str, device: DeviceInfo) -> TimingCache:
        """The cache of that TensorRT on that device, in that directory. Another version's or device's has another name."""
        if directory is None:
            return cls()
        identity = digest("timing_cache", [version, device.name, device.capability, device.multiprocessors])
        return cls(directory / f"tensorrt-{version}-{identity}.timing")

    def read(self) -> bytes:
        """What is known so far; empty at first. Raises BuildError."""
        if self.path is None:
            return self._kept
        try:
            with self._lock():
                return self._content()
        except OSError as error:
            raise self._unusable(error) from error

    def merge(self, combine: Combine) -> None:
        """Write what `combine` makes of the content that the file has by now; nobody else writes meanwhile.

        Raises:
            BuildError: the file cannot be read or written; and what `combine` raises.
        """
        if self.path is None:
            self._kept = combine(self._kept)
            return
        try:
            with self._lock():
                present = self._content()
                merged = combine(present)
                if merged != present:
                    partial = self.path.with_suffix(".partial")
                    partial.write_bytes(merged)
                    partial.replace(self.path)
        except OSError as error:
            raise self._unusable(error) from error

    def _content(self) -> bytes:
        assert self.path is not None
        return self.path.read_bytes() if self.path.exists() else b""

    def _lock(self) -> FileLock:
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S)

    def _unusable(self, error: OSError) -> BuildError:
        return BuildError(
            f"the timing cache {self.path} cannot be read or written: {error.strerror or error}",
            hint="Make room or set the rights there, or choose another directory.",
        )
