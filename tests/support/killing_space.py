"""A search space whose plans kill whoever asks for one. Imported by worker processes alone."""

from __future__ import annotations

import os
import signal
from typing import Any, Self

from models.networks.structure import NetworkPlan
from models.spaces.base import SearchSpace
from models.spaces.registry import register_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from tests.support.faults import KILLING_SPACE


@register_space
class KillingSpace(SearchSpace):
    name = KILLING_SPACE
    description = "kills"

    @classmethod
    def from_spec(cls, spec: SpaceSpec) -> Self:
        return cls(spec)

    def plan(self, architecture: ArchitectureSpec) -> NetworkPlan:
        os.kill(os.getpid(), signal.SIGKILL)
        return NetworkPlan(())

    def _nothing(self, *_: Any) -> Any:
        raise NotImplementedError

    operators = parameter_shapes = latency_graph = supernet = copy_weights = sample = _decode = _nothing
