"""Our own backends, described; the entry points `opclock.backends` in pyproject.toml name these."""

from __future__ import annotations

from profiler_service.backends.backend_options import (
    BackendOptions,
    InductorCudaOptions,
    InductorOptions,
    OnnxRuntimeCudaOptions,
    TensorRtOptions,
    TensorRtRtxOptions,
    TorchCudaOptions,
)
from profiler_service.backends.description import BackendInfo, Implementation, Runtime

_TORCH = Runtime("torch", "torch", (2, 6))
_TORCH_CUDA = Runtime("torch", "torch", (2, 7))
"""Whose replay of a CUDA graph runs nothing beside it, where nothing random was captured; earlier ones ran two kernels more."""

_ONNX_RUNTIME = Runtime("onnxruntime", "ONNX Runtime", (1, 20))
_ONNX_RUNTIME_CUDA = Runtime("onnxruntime", "ONNX Runtime", (1, 28))
"""Whose replay of a CUDA graph need not wait for the device."""


def _one(where: str, extra: str, options: type[BackendOptions], runtime: Runtime | None = None) -> Implementation:
    return Implementation(f"profiler_service.backends.{where}", f"pip install 'opclock[{extra}]'", options, runtime)


ONNXRUNTIME = BackendInfo(
    "onnxruntime",
    {
        "cpu": _one("onnxruntime_cpu:OnnxRuntimeBackend", "onnxruntime", BackendOptions, _ONNX_RUNTIME),
        "cuda": _one("onnxruntime_cuda:OnnxRuntimeCudaBackend", "onnxruntime-cuda", OnnxRuntimeCudaOptions, _ONNX_RUNTIME_CUDA),
    },
)
TORCH = BackendInfo(
    "torch",
    {
        "cpu": _one("torch_cpu:TorchBackend", "graphs", BackendOptions, _TORCH),
        "cuda": _one("torch_cuda:TorchCudaBackend", "cuda", TorchCudaOptions, _TORCH_CUDA),
    },
)
INDUCTOR = BackendInfo(
    "inductor",
    {
        "cpu": _one("inductor:InductorBackend", "graphs", InductorOptions, _TORCH),
        "cuda": _one("inductor:InductorCudaBackend", "cuda", InductorCudaOptions, _TORCH_CUDA),
    },
)
TENSORRT = BackendInfo("tensorrt", {"cuda": _one("tensorrt.backend:TensorRtBackend", "tensorrt", TensorRtOptions)})
TENSORRT_RTX = BackendInfo(
    "tensorrt_rtx", {"cuda": _one("tensorrt.backend:TensorRtRtxBackend", "tensorrt-rtx", TensorRtRtxOptions)}
)
"""TensorRT goes by several names, and looks after its versions itself."""
