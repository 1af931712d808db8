"""Search spaces that know networks of other people with which what is found is compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from models.spec.architectures import ArchitectureSpec


class ReferenceNetworks(ABC):
    """A search space with such networks. They are architectures of the space, at its size, classes and widths, so that they are
    trained, evaluated, measured and drawn as found ones are; a search never finds them, and the space's table need not hold
    their operators.
    """

    @abstractmethod
    def references(self) -> Mapping[str, ArchitectureSpec]:
        """The networks, by name."""
