"""Where a number was measured."""

from __future__ import annotations

from pydantic import Field

from models.spec.architectures import Name
from models.spec.base import Record, differences, digest


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
        settings: the variables of the environment under which the service measures on this target again, where they are not at
            their defaults: `{"OPCLOCK_TF32": "true"}`. No part of the identity; None where nobody recorded them.
    """

    device: Name
    backend: Name
    versions: dict[str, str] = Field(default_factory=dict)
    precision: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str] = Field(default_factory=dict)
    threads: int = Field(default=0, ge=0)
    clock_policy: str = "as found"
    compute_capability: str = ""
    settings: dict[str, str] | None = None

    def id(self) -> str:
        """The target id: 16 hex digits."""
        return digest("target", self.model_dump(mode="json", exclude={"settings"}))

    def label(self) -> str:
        """For people: `Intel Xeon, onnxruntime 1.31.1, 1 thread`."""
        version = self.versions.get(self.backend, "")
        threads = f", {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else ""
        return f"{self.device}, {self.backend} {version}".rstrip() + threads

    def differences(self, other: TargetSpec) -> list[str]:
        """Each field in which `other` differs, as `threads: 1 here, 4 there`; empty for equal ids."""
        return differences(self._identity(), other._identity())

    def _identity(self) -> TargetSpec:
        return self.model_copy(update={"settings": None})
