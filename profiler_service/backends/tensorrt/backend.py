"""TensorRT and TensorRT-RTX as backends."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import Any, ClassVar

import numpy as np

from models.atomic_file import replacing
from models.spec.errors import InvalidSpecError
from models.spec.graphs import EXPORTER_VERSION, OPSET, GraphRequest
from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import BackendOptions, TensorRtOptions, TensorRtRtxOptions
from profiler_service.backends.base import GraphArtifact, require_dtype, seeded_input
from profiler_service.backends.compiled_cache import CompiledCache
from profiler_service.backends.device.backend import FIRST_SHAPE, DeviceBackend, first_graph
from profiler_service.backends.device.base import Device
from profiler_service.backends.device.nvml import Telemetry
from profiler_service.backends.errors import unavailable
from profiler_service.backends.tensorrt.building import EngineRequest, Plan, PlanBuilder, TimingCache, capability_member
from profiler_service.backends.tensorrt.execution import Loader, TensorRtEngine
from profiler_service.backends.tensorrt.vendor import TENSORRT, TENSORRT_RTX, Flavour, Vendor, load_vendor
from profiler_service.errors import BackendError, BuildError


class TensorRtBackend(DeviceBackend):
    """TensorRT 10 and 11: strongly typed engines, captured into CUDA graphs.

    Args:
        options: see `TensorRtOptions`.
        vendor, device, driver, telemetry: by default what is installed, the device that the options name, its driver's version,
            and NVML's view of it.

    Raises:
        BackendUnavailableError: the runtime cannot be loaded, or does not support the GPU.
        InvalidSpecError: it cannot do what an option asks.
    """

    name: ClassVar[str] = TENSORRT.name
    options_type: ClassVar[type[BackendOptions]] = TensorRtOptions
    reads_onnx: ClassVar[bool] = True
    dtypes: tuple[Dtype, ...] = ("float32", "float16", "bfloat16")
    flavour: ClassVar[Flavour] = TENSORRT

    def __init__(
        self,
        options: TensorRtRtxOptions,
        *,
        vendor: Vendor | None = None,
        device: Device | None = None,
        driver: str | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._vendor = vendor or load_vendor(self.flavour)
        super().__init__(options, device=device, driver=driver, telemetry=telemetry)
        self._replay = isinstance(options, TensorRtOptions) and options.replay_builds
        if self._replay and not self._vendor.replays_builds:
            raise InvalidSpecError(
                f"{self.flavour.title} {self._vendor.version} cannot replay builds", hint="Leave replay_builds off."
            )
        cache = TimingCache.of(options.cache_dir, version=self._vendor.version, device=self._device.info)
        self._builder = PlanBuilder(self._vendor, cache)
        self._loader = Loader(self._vendor)
        self._plans: CompiledCache[Plan] = CompiledCache()
        self._rebuilds: Counter[str] = Counter()
        self._described: dict[str, bytes] = {}
        if not self.builds_on_device:
            self._require_supported_gpu()

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        info, request = self._device.info, self._request("float32")
        return TargetSpec(
            device=info.name,
            backend=self.name,
            versions={
                self.name: self._vendor.version,
                "cuda_driver": info.cuda_driver,
                "driver": self._driver,
                "exporter": str(EXPORTER_VERSION),
                "opset": str(OPSET),
            },
            precision={"tf32": "on" if self.options.tf32 else "off"},
            options={
                **request.options(),
                **self._flavour_options(request),
                "graph": "captured",
                "multiprocessors": str(info.multiprocessors),
            },
            compute_capability=info.capability,
        )

    def build(self, artifact: GraphArtifact) -> TensorRtEngine:
        """See `Backend.build`."""
        graph, wanted = self._wanted(artifact)
        plan = self._plans.get((sha256(graph).digest(), wanted), lambda: self._builder.build(graph, wanted))
        return self._engine(artifact.request, plan)

    def rebuild(self, artifact: GraphArtifact) -> TensorRtEngine:
        """See `Backend.rebuild`: with a builder and a timing cache of its own, both new."""
        graph, wanted = self._wanted(artifact)
        plan = PlanBuilder(self._vendor).build(graph, replace(wanted, replay=False))
        self._rebuilds[artifact.request.key()] += 1
        return self._engine(artifact.request, plan, f".rebuild-{self._rebuilds[artifact.request.key()]}")

    def _wanted(self, artifact: GraphArtifact) -> tuple[bytes, EngineRequest]:
        """The graph, and how it is to be built. Raises as `build` does."""
        request = artifact.request
        require_dtype(self.name, self.dtypes, request)
        return artifact.onnx_bytes(), self._request(request.subject.dtype)

    def _engine(self, request: GraphRequest, plan: Plan, suffix: str = "") -> TensorRtEngine:
        """The plan on the device; its layers are written under a name with that suffix."""
        loaded = self._loader.load(plan)
        layers = self._loader.layers(loaded)
        self._write_layers(request, layers, suffix)
        engine = TensorRtEngine(self._vendor, self._device, loaded, plan.request.dtype, seeded_input(request), layers)
        engine.engine_bytes = plan.nbytes
        return engine

    def _write_layers(self, request: GraphRequest, layers: str, suffix: str) -> None:
        """Beside the timing cache, unless it is there: which layers were fused, which kernels they got, in which formats."""
        name = f"{request.key()}-{self.target().id()}{suffix}.layers.json"
        content = sha256(layers.encode()).digest()
        if self.options.cache_dir is None or self._described.get(name) == content:
            return
        document = {
            "graph": request.label(),
            "workload": request.subject.key(),
            "target": self.target().model_dump(mode="json"),
        }
        text = json.dumps(document | {"engine": _parsed(layers)}, ensure_ascii=False, indent=1)
        path = self.options.cache_dir / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part:
                part.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BuildError(f"{path} cannot be written: {error.strerror or error}", hint="Make room there.") from error
        self._described[name] = content

    def _require_supported_gpu(self) -> None:
        """Build, run and capture one convolution: what is built for any GPU is refused only by the one that it runs on.

        Raises BackendUnavailableError where that is not possible.
        """
        try:
            plan = self._builder.build(first_graph(), self._request("float32"))
            loaded = self._loader.load(plan)
            TensorRtEngine(self._vendor, self._device, loaded, "float32", np.ones(FIRST_SHAPE, np.float32), "").close()
        except BackendError as error:
            info = self._device.info
            raise unavailable(
                error,
                f"{self.flavour.title} runs nothing on {info.name} (compute capability {info.capability})",
                hint=f"See whether its support matrix lists that GPU; if not, use backend {TENSORRT.name}.",
            ) from error

    def _request(self, dtype: Dtype) -> EngineRequest:
        return EngineRequest(dtype, tf32=self.options.tf32, replay=self._replay)

    def _flavour_options(self, request: EngineRequest) -> dict[str, str]:
        return {}


class TensorRtRtxBackend(TensorRtBackend):
    """TensorRT-RTX: kernels are compiled on the device when an engine is loaded, none is timed to choose it."""

    name: ClassVar[str] = TENSORRT_RTX.name
    options_type: ClassVar[type[BackendOptions]] = TensorRtRtxOptions
    builds_on_device: ClassVar[bool] = False
    flavour: ClassVar[Flavour] = TENSORRT_RTX

    def _request(self, dtype: Dtype) -> EngineRequest:
        return EngineRequest(
            dtype, tf32=self.options.tf32, compute_capability=self._compute_capability(), timing_iterations=None
        )

    def _compute_capability(self) -> str | None:
        """The GPU's own where it can be built for; else the default, which some GPUs run and others refuse."""
        capability = self._device.info.capability
        known = hasattr(self._vendor.module.ComputeCapability, capability_member(capability))
        return capability if known else None

    def _flavour_options(self, request: EngineRequest) -> dict[str, str]:
        return {"built_for": request.compute_capability or "its default"}


def _parsed(layers: str) -> Any:
    """The vendor's description as JSON; as text where it is none."""
    try:
        return json.loads(layers)
    except ValueError:
        return layers
