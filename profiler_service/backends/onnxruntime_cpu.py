"""ONNX Runtime on the CPU: the default backend, since it needs nothing but a processor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NoReturn

import numpy as np
import onnxruntime

from models.spec.graphs import EXPORTER_VERSION, OPSET
from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import Engine, FloatArray, GraphArtifact, require_dtype, seeded_input
from profiler_service.backends.cpu import CpuBackend
from profiler_service.backends.errors import out_of_memory
from profiler_service.errors import BackendError, BackendUnavailableError, BuildError, DeviceMemoryError, RunError

_PROVIDER = "CPUExecutionProvider"
_FATAL = 4
"""The one severity that ONNX Runtime still logs; what goes wrong is raised anyway."""


class OnnxRuntimeEngine(Engine):
    """A session with its input and output bound once to preallocated memory."""

    def __init__(self, session: Any, array: FloatArray) -> None:
        self._session = session
        (self._input,), (self._output,) = session.get_inputs(), session.get_outputs()
        binding = session.io_binding()
        binding.bind_ortvalue_input(self._input.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        binding.bind_ortvalue_output(
            self._output.name, onnxruntime.OrtValue.ortvalue_from_shape_and_type(self._output.shape, np.float32)
        )
        self._run: Callable[[], None] = partial(session.run_with_iobinding, binding)

    def run(self) -> None:
        """See `Engine.run`."""
        try:
            self._run()
        except RunError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no root of their own
            raise _translated(error, RunError) from error

    def infer(self, array: FloatArray) -> FloatArray:
        """See `Engine.infer`. The bound input stays as it is."""
        if self._session is None:
            _closed()
        try:
            (output,) = self._session.run([self._output.name], {self._input.name: array})
        except Exception as error:
            raise _translated(error, RunError) from error
        result: FloatArray = output
        return result

    def close(self) -> None:
        """See `Engine.close`."""
        self._session, self._run = None, _closed


def _closed() -> NoReturn:
    raise RunError("the engine is closed")


class OnnxRuntimeBackend(CpuBackend):
    """ONNX Runtime's CPU provider, one session per engine.

    float32 alone: float16 graphs are run in float32 between casts that ONNX Runtime inserts, and its CPU provider has
    no bfloat16 convolution, so that neither would be what the table says.
    """

    name: ClassVar[str] = "onnxruntime"
    reads_onnx: ClassVar[bool] = True
    unrolls: ClassVar[bool] = True
    dtypes: tuple[Dtype, ...] = ("float32",)

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options)
        if _PROVIDER not in onnxruntime.get_available_providers():
            raise BackendUnavailableError(f"this build of ONNX Runtime has no {_PROVIDER}")
        onnxruntime.set_default_logger_severity(_FATAL)

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        return self.cpu_target(
            versions={
                "onnxruntime": onnxruntime.__version__,
                "exporter": str(EXPORTER_VERSION),
                "opset": str(OPSET),
            },
            options={
                "execution_provider": _PROVIDER,
                "execution_mode": "sequential",
                "graph_optimisation": "all",
                "spinning": "off",
                "recurrences": "unrolled",
            },
        )

    def build(self, artifact: GraphArtifact) -> OnnxRuntimeEngine:
        """See `Backend.build`."""
        require_dtype(self.name, self.dtypes, artifact.request)
        if artifact.onnx_path is None:
            raise BuildError(f"{artifact.request.label()}: no ONNX file was made")
        try:
            session = onnxruntime.InferenceSession(
                artifact.onnx_path, self._session_options(), providers=[_PROVIDER], enable_fallback=False
            )
        except Exception as error:  # ONNX Runtime's exceptions have no root of their own
            raise _translated(error, BuildError) from error
        if session.get_providers() != [_PROVIDER]:
            raise BuildError(f"asked for {_PROVIDER}, but the session uses {', '.join(session.get_providers())}")
        try:
            engine = OnnxRuntimeEngine(session, seeded_input(artifact.request))
        except Exception as error:  # the input or the output may be what memory does not suffice for
            raise _translated(error, BuildError) from error
        engine.engine_bytes = artifact.onnx_path.stat().st_size
        return engine

    def _session_options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.options.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Set on the caller's thread for the first session of a process alone: in a worker, that is one of these.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        return options


def _translated(error: Exception, kind: type[BackendError]) -> BackendError:
    """The same in our tree."""
    return DeviceMemoryError(str(error)) if out_of_memory(error) else kind(str(error))
