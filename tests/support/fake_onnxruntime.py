"""ONNX Runtime with a CUDA provider, as far as it is used, on a fake device: it computes with the real one's CPU provider."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from tests.support.fake_device import FakeDevice

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
RUN_MS = 0.25
ASYNCHRONOUS = "disable_synchronize_execution_providers"


class FakeOnnxRuntime(ModuleType):
    """The module.

    Args:
        device: where its sessions run.
        providers: that this build has.
        loads: whether the CUDA provider finds its libraries; if not, sessions take the CPU's, as the real one does.
        on_cpu: operators that the CUDA provider leaves to the CPU.
        ignores: a provider option that it takes otherwise than asked.
        waits: whether runs wait for the device whatever the run options say.
        records_nothing: whether runs enqueue no work.
        failing: what `run_with_iobinding` raises from now on; may be changed.
    """

    def __init__(
        self,
        device: FakeDevice,
        *,
        providers: tuple[str, ...] = (CUDA, CPU),
        loads: bool = True,
        on_cpu: tuple[str, ...] = (),
        ignores: str = "",
        waits: bool = False,
        records_nothing: bool = False,
        tells_placement: bool = True,
    ) -> None:
        super().__init__("onnxruntime")
        self.device, self.providers, self.loads, self.on_cpu, self.ignores = device, providers, loads, on_cpu, ignores
        self.waits, self.records_nothing, self.tells_placement = waits, records_nothing, tells_placement
        self.failing: Exception | None = None
        self.asked: list[dict[str, str]] = []
        self.__version__ = "1.31.1"
        self.cuda_version = "13.0"
        self.RunOptions = onnxruntime.RunOptions
        self.SessionOptions = onnxruntime.SessionOptions
        self.ExecutionMode = onnxruntime.ExecutionMode
        self.GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
        self.set_default_logger_severity = onnxruntime.set_default_logger_severity

    def get_available_providers(self) -> list[str]:
        return list(self.providers)

    def preload_dlls(self, directory: str) -> None:
        assert directory == ""
        print("Failed to load libcudnn.so.9")

    def InferenceSession(  # noqa: N802
        self, graph: bytes, options: Any, *, providers: list[tuple[str, dict[str, str]]], enable_fallback: bool
    ) -> Any:
        ((provider, asked),) = providers
        assert provider == CUDA
        assert not enable_fallback
        self.asked.append(asked)
        return _Session(self, onnxruntime.InferenceSession(graph, options, providers=[CPU]), asked)


class _Session:
    def __init__(self, module: FakeOnnxRuntime, session: Any, asked: dict[str, str]) -> None:
        self._module, self._session, self._asked = module, session, asked
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def get_providers(self) -> list[str]:
        return [CUDA, CPU] if self._module.loads else [CPU]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        ignored = {self._module.ignores: "something else"} if self._module.ignores else {}
        return {CUDA: self._asked | ignored, CPU: {}}

    def get_provider_graph_assignment_info(self) -> list[Any]:
        nodes = [node for part in self._session.get_provider_graph_assignment_info() for node in part.get_nodes()]
        assert nodes, "the recording of placements was not asked for"
        if not self._module.tells_placement:
            return []
        return [
            SimpleNamespace(ep_name=CPU if node.op_type in self._module.on_cpu else CUDA, get_nodes=lambda node=node: [node])
            for node in nodes
        ]

    def io_binding(self) -> Any:
        return _Binding()

    def run_with_iobinding(self, binding: _Binding, options: Any) -> None:
        module = self._module
        if module.failing is not None:
            raise module.failing
        assert options.get_run_config_entry(ASYNCHRONOUS) == "1"
        if not module.records_nothing:
            module.device.submit(int(self._asked["user_compute_stream"]), lambda: self._compute(binding))
        if module.waits:
            module.device.wait()

    def _compute(self, binding: _Binding) -> None:
        device = self._module.device
        (source, source_type, shape, source_address), (result, result_type, _, result_address) = binding.bound
        array = device.array(source_address).view(source_type).reshape(shape)
        (output,) = self._session.run([result], {source: array})
        device.array(result_address)[:] = np.ascontiguousarray(output, result_type).reshape(-1).view(np.uint8)
        device.clock_ms += RUN_MS


class _Binding:
    def __init__(self) -> None:
        self.bound: list[tuple[str, Any, list[int], int]] = []

    def bind_input(self, name: str, device: str, index: int, kind: Any, shape: list[int], address: int) -> None:
        assert (device, index) == ("cuda", 0)
        self.bound.append((name, kind, shape, address))

    bind_output = bind_input
