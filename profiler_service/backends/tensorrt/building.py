"""From the bytes of one of our own graphs to a serialised engine: what is asked of TensorRT, what it learned, the build.

Needs no TensorRT to be imported, and no device with TensorRT-RTX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from models.atomic_file import replacing
from models.spec.base import digest
from models.spec.operators import Dtype
from profiler_service.backends.device.base import DeviceInfo
from profiler_service.backends.tensorrt.vendor import Vendor
from profiler_service.errors import BackendUnavailableError, BuildError

OPTIMISATION_LEVEL = 3
"""TensorRT's own default, with which people deploy; 4 and 5 build many times longer."""

WORKSPACE_BYTES = 2**30
"""Scratch memory that a kernel may use; as much as the smallest boards can spare."""

TIMING_ITERATIONS = 4
"""Runs that a kernel's time is the mean of while TensorRT chooses. One, its default, chooses differently every time."""

AUXILIARY_STREAMS = 0
"""One stream alone: what runs side by side in one engine would not run so in another, and times would not add up."""

LOCK_TIMEOUT_S = 60.0

Combine = Callable[[bytes], bytes]
"""From what the cache holds to what it is to hold."""


@dataclass(frozen=True)
class EngineRequest:
    """How one graph is to be built. The arithmetic is the graph's own (strongly typed): nothing is converted.

    Attributes:
        dtype: of the graph.
        tf32: whether float32 may be computed in TF32.
        compute_capability: what TensorRT-RTX builds for, `8.6`; None for what it builds for by default: one engine for
            several GPUs, which NVIDIA's support matrix lists (8.6, 8.9 and 12.0 in 1.5). TensorRT builds for the GPU it is on.
        timing_iterations: None where nothing is timed while building.
        replay: build from the timing cache alone, and fail where that has a gap: the same kernels once more.
    """

    dtype: Dtype
    tf32: bool = False
    compute_capability: str | None = None
    optimisation_level: int = OPTIMISATION_LEVEL
    workspace_bytes: int = WORKSPACE_BYTES
    auxiliary_streams: int = AUXILIARY_STREAMS
    timing_iterations: int | None = TIMING_ITERATIONS
    replay: bool = False

    def options(self) -> dict[str, str]:
        """What of it goes into a target; the dtype is each workload's, and TF32 is precision."""
        options = {
            "auxiliary_streams": str(self.auxiliary_streams),
            "builder_optimisation_level": str(self.optimisation_level),
            "network": "strongly typed",
            "workspace_bytes": str(self.workspace_bytes),
        }
        if self.timing_iterations is not None:
            options["timing_iterations"] = str(self.timing_iterations)
        return options


class TimingCache:
    """Serialised timing caches of one device and one version, in a file that processes share, or in memory alone.

    Args:
        path: the file; None for none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._in_memory = b""

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
            return self._in_memory
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
            self._in_memory = combine(self._in_memory)
            return
        try:
            with self._lock():
                present = self._content()
                merged = combine(present)
                if merged != present:
                    with replacing(self.path) as part:
                        part.write_bytes(merged)
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


@dataclass(frozen=True)
class Plan:
    """A serialised engine, in the vendor's memory. Made here alone: plans are never read from anywhere.

    Attributes:
        memory: the vendor's `IHostMemory`. nbytes: its size.
        request: how it was built.
    """

    memory: Any
    nbytes: int
    request: EngineRequest


class PlanBuilder:
    """Builds one graph after another.

    Args:
        vendor: the runtime.
        cache: what it learned about kernels' times; of no use where building times none.

    Raises:
        BackendUnavailableError: the vendor makes no builder, as on a GPU that it does not support.
    """

    def __init__(self, vendor: Vendor, cache: TimingCache | None = None) -> None:
        self._vendor, self._trt = vendor, vendor.module
        self._cache = cache or TimingCache()
        self._builder = vendor.must("makes no builder", BackendUnavailableError, self._trt.Builder, vendor.logger)

    def build(self, graph: bytes, request: EngineRequest) -> Plan:
        """The engine of that ONNX graph.

        Raises:
            BuildError: the parser refuses the graph, with all its reasons; or TensorRT finds no kernels for it.
            DeviceMemoryError: memory ran out.
        """
        must = self._vendor.must
        network = must("makes no network", BuildError, self._builder.create_network, self._network_flags())
        self._parse(graph, network)
        config = must("makes no builder configuration", BuildError, self._builder.create_builder_config)
        with self._vendor.translated("cannot be configured", BuildError):
            self._configure(config, request)
        timings = self._attach_timings(config) if self._vendor.flavour.times_kernels else None
        what = "builds no engine from its timing cache alone" if request.replay else "builds no engine"
        memory = must(what, BuildError, self._builder.build_serialized_network, network, config)
        if timings is not None and not request.replay:
            self._cache.merge(partial(self._combined, config, timings))
        return Plan(memory, memory.nbytes, request)

    def _network_flags(self) -> int:
        """Strongly typed; TensorRT 11 knows nothing else, and need not have the flag."""
        flag = getattr(self._trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def _parse(self, graph: bytes, network: Any) -> None:
        parser = self._vendor.must("makes no parser", BuildError, self._trt.OnnxParser, network, self._vendor.logger)
        with self._vendor.translated("cannot parse the graph", BuildError):
            parsed = parser.parse(graph)
        if not parsed:
            reasons = [_reason(parser.get_error(index)) for index in range(parser.num_errors)]
            raise self._vendor.failure("cannot parse the graph", BuildError, reasons)
        if (network.num_inputs, network.num_outputs) != (1, 1):
            raise BuildError(
                f"the graph has {network.num_inputs} inputs and {network.num_outputs} outputs instead of one each",
                hint="Its file is damaged: delete it, and it is made again.",
            )

    def _configure(self, config: Any, request: EngineRequest) -> None:
        trt = self._trt
        flags = {trt.BuilderFlag.TF32: request.tf32}
        if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # without it a run may allocate, which none can capture
            flags[trt.BuilderFlag.REQUIRE_USER_ALLOCATION] = True
        if self._vendor.replays_builds:
            flags[trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS] = request.replay
        elif request.replay:
            raise BuildError(f"{self._vendor.flavour.title} {self._vendor.version} cannot replay builds")
        for flag, on in flags.items():
            (config.set_flag if on else config.clear_flag)(flag)
        settings = {
            "builder_optimization_level": request.optimisation_level,
            "max_aux_streams": request.auxiliary_streams,
            "profiling_verbosity": trt.ProfilingVerbosity.DETAILED,
        }
        if request.timing_iterations is not None:
            settings["avg_timing_iterations"] = request.timing_iterations
        for name, value in settings.items():
            setattr(config, name, value)
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
        taken = {name: (value, getattr(config, name)) for name, value in settings.items()}
        taken |= {f"flag {flag}": (on, config.get_flag(flag)) for flag, on in flags.items()}
        taken["workspace"] = (request.workspace_bytes, config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE))
        for name, (asked, got) in taken.items():
            if asked != got:  # values out of range are replaced silently
                raise BuildError(f"{self._vendor.flavour.title} takes {name} {asked} for {got}")
        if request.compute_capability is not None:
            self._aim(config, request.compute_capability)

    def _aim(self, config: Any, compute_capability: str) -> None:
        """Build for that GPU alone."""
        must, what = self._vendor.must, f"does not build for compute capability {compute_capability}"
        member = must(what, BuildError, getattr, self._trt.ComputeCapability, capability_member(compute_capability))
        config.num_compute_capabilities = 1
        must(what, BuildError, config.set_compute_capability, member, 0)

    def _attach_timings(self, config: Any) -> Any:
        must, what = self._vendor.must, f"does not take the timing cache {self._cache.path or 'of this process'}"
        if self._cache.path is not None:
            what += " (delete that file, and a new one is made)"
        timings = must(what, BuildError, config.create_timing_cache, self._cache.read())
        must(what, BuildError, config.set_timing_cache, timings, False)
        return timings

    def _combined(self, config: Any, timings: Any, present: bytes) -> bytes:
        """What others have written meanwhile, and what this build found out."""
        must, what = self._vendor.must, "cannot save its timing cache"
        merged = must(what, BuildError, config.create_timing_cache, present)
        must(what, BuildError, merged.combine, timings, False)
        return bytes(must(what, BuildError, merged.serialize))


def capability_member(compute_capability: str) -> str:
    """What TensorRT-RTX calls it: `SM86` for `8.6`."""
    return "SM" + compute_capability.replace(".", "")


def _reason(error: Any) -> str:
    """One of the parser's errors: where, and what."""
    node = f" at {error.node_operator()} {error.node_name()}" if error.node_name() else ""
    return f"{error.code().name}{node}: {error.desc()}"
