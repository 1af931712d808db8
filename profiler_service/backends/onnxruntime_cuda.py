"""ONNX Runtime's CUDA provider: input and output in device memory, runs on the device's one stream, timed by its clock.

Graphs are captured by ONNX Runtime itself (`enable_cuda_graph`), or its kernels are launched one by one. Never on the CPU: a
provider that is not there, that the session did not take, or that left a node to the CPU is an error.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import redirect_stdout
from typing import Any, ClassVar

import numpy as np
import onnxruntime

from models.spec.graphs import EXPORTER_VERSION, OPSET
from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import BackendOptions, OnnxRuntimeCudaOptions
from profiler_service.backends.base import FloatArray, GraphArtifact, require_dtype, seeded_input
from profiler_service.backends.device.backend import FIRST_SHAPE, DeviceBackend, DeviceEngine, first_graph
from profiler_service.backends.device.base import Device
from profiler_service.backends.device.nvml import Telemetry
from profiler_service.backends.errors import one_line, translated, unavailable
from profiler_service.errors import BackendError, BackendUnavailableError, BuildError

PROVIDER = "CUDAExecutionProvider"

_CUDNN = "libcudnn.so.9"

_FATAL = 4
"""The one severity that ONNX Runtime still logs; what goes wrong is raised anyway."""

_FIRST_RUNS = 2
"""The first sets up, and captures where that is asked for; the second shows that nothing is left to set up."""

_LONG_BLOCK_S = 0.05
"""Many times longer than any launch takes the host: a call that lasts as long has waited for the device."""

_ATTEMPTS = 3


class OnnxRuntimeCudaEngine(DeviceEngine):
    """A session whose input and output are bound once to memory of ours.

    Args:
        session: ONNX Runtime's; one input, one output, all of it on the device.
        device: where it runs. index: of that device, as CUDA counts.
        host_type: numpy's type of both. array: the seeded input.

    Raises:
        BuildError: a run writes no output.
        RunError, DeviceMemoryError: a run failed, or memory ran out.
    """

    def __init__(self, session: Any, device: Device, index: int, host_type: type[np.floating[Any]], array: FloatArray) -> None:
        (source,), (result,) = session.get_inputs(), session.get_outputs()
        super().__init__(device, host_type, array, tuple(result.shape))
        self._session = session
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        with self._or_closed():
            with translated("ONNX Runtime takes no memory of ours", BuildError):
                self._binding = session.io_binding()
                self._binding.bind_input(source.name, "cuda", index, host_type, list(array.shape), self._input.address)
                self._binding.bind_output(result.name, "cuda", index, host_type, list(self._output_shape), self._output.address)
            for _ in range(_FIRST_RUNS):
                self.run()
            self._require_output("a run")

    def close(self) -> None:
        """See `Engine.close`."""
        self._session = self._binding = None
        super().close()

    def _enqueue(self) -> None:
        with translated("ONNX Runtime cannot run its session"):
            self._session.run_with_iobinding(self._binding, self._options)


class OnnxRuntimeCudaBackend(DeviceBackend):
    """One session per engine, all on one stream.

    float32 and float16 alone: the provider has no convolution in bfloat16.

    Args:
        options: see `OnnxRuntimeCudaOptions`.
        device, driver, telemetry: by default the device that the options name, its driver's version, and NVML's view of it.
        cudnn: its version; by default that of the library which this process finds.
    """

    name: ClassVar[str] = "onnxruntime"
    reads_onnx: ClassVar[bool] = True
    dtypes: tuple[Dtype, ...] = ("float32", "float16")
    options_type: ClassVar[type[BackendOptions]] = OnnxRuntimeCudaOptions
    options: OnnxRuntimeCudaOptions

    def __init__(
        self,
        options: OnnxRuntimeCudaOptions,
        *,
        device: Device | None = None,
        driver: str | None = None,
        telemetry: Telemetry | None = None,
        cudnn: str | None = None,
    ) -> None:
        _require_build()
        onnxruntime.set_default_logger_severity(_FATAL)
        super().__init__(options, device=device, driver=driver, telemetry=telemetry)
        with redirect_stdout(sys.stderr):  # it prints what it does not find
            onnxruntime.preload_dlls(directory="")
        self._cudnn = cudnn or _cudnn_version()
        self._require_provider()

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        info = self._device.info
        return TargetSpec(
            device=info.name,
            backend=self.name,
            versions={
                "onnxruntime": onnxruntime.__version__,
                "onnxruntime_cuda": str(onnxruntime.cuda_version),
                "cudnn": self._cudnn,
                "cuda_driver": info.cuda_driver,
                "driver": self._driver,
                "exporter": str(EXPORTER_VERSION),
                "opset": str(OPSET),
            },
            precision={"tf32": "on" if self.options.tf32 else "off"},
            options={
                "device": "cuda",
                "execution_provider": PROVIDER,
                "execution_mode": "sequential",
                "graph_optimisation": "all",
                "cudnn_conv_algo_search": self._provider_options()["cudnn_conv_algo_search"].lower(),
                "layout": "nchw",
                "mode": "captured by ONNX Runtime" if self.options.cuda_graphs else "uncaptured",
                "multiprocessors": str(info.multiprocessors),
            },
            compute_capability=info.capability,
        )

    def build(self, artifact: GraphArtifact) -> OnnxRuntimeCudaEngine:
        """See `Backend.build`."""
        request = artifact.request
        require_dtype(self.name, self.dtypes, request)
        graph = artifact.onnx_bytes()
        engine = self._engine(self._session(graph), request.subject.dtype, seeded_input(request))
        engine.engine_bytes = len(graph)
        return engine

    def _engine(self, session: Any, dtype: Dtype, array: FloatArray) -> OnnxRuntimeCudaEngine:
        host_type: type[np.floating[Any]] = getattr(np, dtype)
        return OnnxRuntimeCudaEngine(session, self._device, self.options.device_index, host_type, array)

    def _session(self, graph: bytes) -> Any:
        """A session all of whose nodes run on the device, with every option as it was asked for. Raises BuildError."""
        asked = self._provider_options()
        with translated("ONNX Runtime cannot make a session", BuildError):
            session: Any = onnxruntime.InferenceSession(
                graph, self._session_options(), providers=[(PROVIDER, asked)], enable_fallback=False
            )
        providers = session.get_providers()
        if providers[:1] != [PROVIDER]:
            raise BuildError(
                f"asked for {PROVIDER}, but the session uses {', '.join(providers) or 'none'}",
                hint="Its CUDA or cuDNN libraries are missing or of another version: pip install 'opclock[onnxruntime-cuda]'",
            )
        got = session.get_provider_options().get(PROVIDER, {})
        for name, value in asked.items():
            if name != "user_compute_stream" and got.get(name, value) != value:
                raise BuildError(f"ONNX Runtime takes {name} {got[name]} for {value}")
        _require_placement(session)
        return session

    def _session_options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return options

    def _provider_options(self) -> dict[str, str]:
        """What is asked of the provider. Memory grows by what is needed, since tens of sessions are live at once."""
        return {
            "device_id": str(self.options.device_index),
            "user_compute_stream": str(self._device.stream),
            "enable_cuda_graph": str(int(self.options.cuda_graphs)),
            "use_tf32": str(int(self.options.tf32)),
            "cudnn_conv_algo_search": "EXHAUSTIVE" if self.options.cudnn_benchmark else "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "prefer_nhwc": "0",
        }

    def _require_provider(self) -> None:
        """Build and run one convolution. Raises BackendUnavailableError where that is not possible, or cannot be timed."""
        try:
            engine = self._engine(self._session(first_graph()), "float32", np.ones(FIRST_SHAPE, np.float32))
        except BackendError as error:
            reason = unavailable(error, "ONNX Runtime runs nothing on this GPU")
            raise BackendUnavailableError(reason.message, hint=error.hint or reason.hint) from error
        waits = all(self._waits(engine) for _ in range(_ATTEMPTS))  # once may be the host's own pause
        engine.close()
        if waits:
            raise BackendUnavailableError(
                f"ONNX Runtime {onnxruntime.__version__} waits for the device in every run, which then cannot be timed by "
                "the device's clock",
                hint="Install a newer onnxruntime-gpu"
                + (", or set OPCLOCK_CUDA_GRAPHS=false." if self.options.cuda_graphs else "."),
            )

    def _waits(self, engine: OnnxRuntimeCudaEngine) -> bool:
        """Whether a run came back only after the blocking kernel had ended."""
        self._device.sleep(_LONG_BLOCK_S)
        unblocked = self._device.record()
        engine.enqueue()
        waited = self._device.passed(unblocked)
        self._device.synchronize()
        return waited


def _require_build() -> None:
    """Raises BackendUnavailableError for a build of ONNX Runtime without the provider."""
    present = onnxruntime.get_available_providers()
    if PROVIDER not in present:
        raise BackendUnavailableError(
            f"this build of ONNX Runtime ({onnxruntime.__version__}) has no {PROVIDER}, only {', '.join(present)}",
            hint="pip uninstall onnxruntime, then pip install 'opclock[onnxruntime-cuda]': the two builds share one folder.",
        )


def _cudnn_version() -> str:
    """Of the library whose kernels are timed, which is not ONNX Runtime's own: `91002` for 9.10.2.

    Raises BackendUnavailableError where it is not found: newer releases would then run other kernels, and say nothing.
    """
    try:
        library = ctypes.CDLL(_CUDNN)
        library.cudnnGetVersion.restype = ctypes.c_size_t
        return str(library.cudnnGetVersion())
    except (OSError, AttributeError) as error:
        raise BackendUnavailableError(
            f"cuDNN cannot be loaded: {one_line(str(error))}", hint="pip install 'opclock[onnxruntime-cuda]'"
        ) from error


def _require_placement(session: Any) -> None:
    """Raises BuildError unless every node is demonstrably the provider's."""
    elsewhere = [
        f"{node.op_type} {node.name} on {part.ep_name}"
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if part.ep_name != PROVIDER
    ]
    if elsewhere:
        raise BuildError(f"{PROVIDER} leaves nodes to others: {', '.join(elsewhere)}")
    if not session.get_provider_graph_assignment_info():
        raise BuildError(f"ONNX Runtime does not report whether {PROVIDER} runs every node")
