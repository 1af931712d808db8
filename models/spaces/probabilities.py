"""Probabilities of α, β and γ as arrays, checked against the shapes that a space gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from models.spec.errors import InvalidSpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Probabilities: TypeAlias = "Mapping[str, Mapping[str, NDArray[np.float64]]]"
"""`{"alpha" | "beta" | "gamma": {group: probabilities}}`. Shape: (rows, choices), every row summing to one."""

TOLERANCE = 1e-3
"""How far from one a row may sum: what single precision leaves, with room."""


def resolve_probabilities(
    given: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, Mapping[str, tuple[int, int]]]
) -> Probabilities:
    """The groups that the shapes name, as float64.

    Args:
        given: array-likes by granularity and group. What the shapes do not name is left out.
        shapes: (rows, choices) by granularity and group.

    Raises:
        InvalidSpecError: a group is missing or has another shape, or a row is no distribution; names all three.
    """
    import numpy as np

    resolved: dict[str, dict[str, NDArray[np.float64]]] = {}
    for granularity, groups in shapes.items():
        resolved[granularity] = {}
        for group, shape in groups.items():
            what = f"{granularity} of group {group!r}"
            if group not in given.get(granularity, {}):
                raise InvalidSpecError(f"{what} is missing", hint=f"Groups of {granularity}: {', '.join(groups)}.")
            try:
                rows = np.asarray(given[granularity][group], np.float64)
            except (ValueError, TypeError) as error:
                raise InvalidSpecError(f"{what} is not rows of numbers: {error}") from error
            resolved[granularity][group] = _distributions(what, rows, shape)
    return resolved


def _distributions(what: str, rows: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    import numpy as np

    if rows.shape != shape:
        expected, actual = ("×".join(map(str, sides)) or "()" for sides in (shape, rows.shape))
        raise InvalidSpecError(f"{what} has shape {actual}; {expected} is expected", hint="Rows and choices are the space's.")
    # Written so that NaN is refused as well.
    wrong = ~((rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= TOLERANCE))
    if wrong.any():
        row = int(wrong.argmax())
        raise InvalidSpecError(
            f"{what}, row {row} is {rows[row].tolist()}; probabilities are not negative and sum to 1",
            hint="Take the softmax of logits first.",
        )
    return rows
