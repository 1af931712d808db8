"""What the toy space needs to be searched: its supernet. Apart from the space itself, since measuring needs none of it."""

from __future__ import annotations

from typing import Any

from models.spaces.base import SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.operators import OperatorSpec


class ToySearch(SearchSpace):
    """The searchable half of the toy space."""

    _head: tuple[OperatorSpec, OperatorSpec]

    def supernet(self) -> Any:
        from tests.support.toy_supernet import ToySupernet  # torch

        return ToySupernet(self.latency_graph(), self._head[0])

    def copy_weights(self, supernet: Any, role: str, architecture: ArchitectureSpec, network: Any, **_: object) -> None:
        supernet.copy_to(architecture.genotype["operators"], network)
