"""Operator kinds to torch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.operators import OperatorSpec

Builder = Callable[[OperatorSpec], nn.Module]
AnyBuilder = TypeVar("AnyBuilder", bound=Builder)

_builders: dict[str, Builder] = {}


def register(kind: str) -> Callable[[AnyBuilder], AnyBuilder]:
    """Make a class or function the builder of that kind; used as a decorator.

    The kind itself is described in `models.spec.kinds`. A second builder for one kind is an error.
    """

    def add(builder: AnyBuilder) -> AnyBuilder:
        if _builders.setdefault(kind, builder) is not builder:
            raise InvalidSpecError(f"operator kind {kind!r} has a builder already")
        return builder

    return add


def operator_kinds() -> list[str]:
    """Every kind that has a builder, sorted."""
    return sorted(_builders)


def build_operator(spec: OperatorSpec) -> nn.Module:
    """The operator's module, with weights as torch initialises them, on torch's current default device.

    Under `torch.device("meta")` the module has no weights and costs next to nothing; `models.operators.weights.fill`
    then gives it some.

    Shape: input `spec.input_shape`; output `spec.output_shape`.

    Raises:
        UnknownNameError: nothing builds that kind.
    """
    try:
        builder = _builders[spec.kind]
    except KeyError:
        error = UnknownNameError.of("operator kind", spec.kind, _builders)
        raise error from None
    return builder(spec)
