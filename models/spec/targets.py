"""Where a number was measured."""

from __future__ import annotations

from pydantic import Field

from models.spec.architectures import Name
from models.spec.base import Record, differences, digest

_UNCAPTURED = frozenset({"eager", "compiled", "uncaptured"})
"""Modes in which kernels are launched one by one."""

_TIMED = frozenset({("cudnn_benchmark", "on"), ("cudnn_conv_algo_search", "exhaustive")})
"""Options of targets whose cuDNN algorithms are timed."""


class TargetSpec(Record):
    """What may change a time, and nothing else: equal targets may share a table, others never.

    Attributes:
        device: processor or GPU, as its driver names it.
        backend: name of the runtime that ran the engines.
        versions: of the backend, its runtime libraries, the driver, the exporter … by name.
        precision: flags that change arithmetic (`tf32`, `denormals` …), by name.
        options: everything else that changes a time (execution provider, graph optimisation …), by name.
        threads: threads that one engine may use; 0 where the word has no meaning.
        clock_policy: how clocks were governed: `as found`, `locked 1410 MHz` …
        compute_capability: of a GPU, `9.0`; empty elsewhere.
    """

    device: Name
    backend: Name
    versions: dict[str, str] = Field(default_factory=dict)
    precision: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str] = Field(default_factory=dict)
    threads: int = Field(default=0, ge=0)
    clock_policy: str = "as found"
    compute_capability: str = ""

    def id(self) -> str:
        """The target id: 16 hex digits."""
        return digest("target", self.model_dump(mode="json"))

    def label(self) -> str:
        """For people: `Intel Xeon, onnxruntime 1.31.1, 1 thread`."""
        version = self.versions.get(self.backend, "")
        threads = f", {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else ""
        return f"{self.device}, {self.backend} {version}".rstrip() + threads

    def settings(self) -> dict[str, str]:
        """The variables of the environment that make the service measure on this target again, where they are not the default:
        `{"OPCLOCK_TF32": "true"}`.
        """
        options = self.options
        wanted = {
            "OPCLOCK_DEVICE": "cuda" if options.get("device") == "cuda" else "",
            "OPCLOCK_TF32": "true" if self.precision.get("tf32") == "on" else "",
            "OPCLOCK_CUDA_GRAPHS": "false" if options.get("mode") in _UNCAPTURED and options.get("device") == "cuda" else "",
            "OPCLOCK_MAX_AUTOTUNE": "true" if options.get("max_autotune") == "on" else "",
            "OPCLOCK_CUDNN_BENCHMARK": "true" if _TIMED & {*options.items()} else "",
        }
        return {name: value for name, value in wanted.items() if value}

    def differences(self, other: TargetSpec) -> list[str]:
        """Each field in which `other` differs, as `threads: 1 here, 4 there`."""
        return differences(self, other)
