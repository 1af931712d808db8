"""Architecture parameters: the logits of α (operators), β (downsampling) and γ (expansion ratios)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from models.spaces.base import ParameterShapes
from nas_client.errors import ParameterError

Granularity = Literal["alpha", "beta", "gamma"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)

GroupShapes = Mapping[str, tuple[int, int]]
"""Group name to (rows, choices), in the order in which the groups' rows are counted."""

_SHAPES_HINT = "Rows and choices are the search space's; check its layers, widths and operators."

_CERTAIN = 1000.0
"""A logit that makes the probabilities of its row's other choices zero, even in float64."""


def complete_shapes(shapes: ParameterShapes) -> ParameterShapes:
    """The shapes of all granularities. One that the space lacks has no groups."""
    return {name: {group: (rows, choices) for group, (rows, choices) in shapes.get(name, {}).items()} for name in GRANULARITIES}


def stacked_shape(groups: GroupShapes) -> tuple[int, int]:
    """(rows of all groups, most choices of any group); (0, 1) without groups."""
    return (sum(rows for rows, _ in groups.values()), max((choices for _, choices in groups.values()), default=1))


def choice_counts(groups: GroupShapes) -> list[int]:
    """How many choices each row has, over all groups."""
    return [choices for rows, choices in groups.values() for _ in range(rows)]


@dataclass(frozen=True, eq=False)
class ArchitectureParameters:
    """The logits of one distribution over architectures.

    The groups of a granularity lie below each other in one tensor, whose rows are those that a `LatencyGraph` counts: an
    optimiser sees three tensors, and a training step joins nothing. Where groups differ in their number of choices, the rows of
    the smaller ones are filled up with zeros that mean nothing and get no gradient.

    >>> parameters = ArchitectureParameters.zeros({"alpha": {"8": (2, 3), "16": (1, 2)}, "gamma": {"8": (1, 4)}})
    >>> parameters.alpha.shape, parameters.group("alpha", "16").shape
    (torch.Size([3, 3]), torch.Size([1, 2]))
    >>> [tensor.shape for tensor in parameters.tensors()]  # the space has no β
    [torch.Size([3, 3]), torch.Size([1, 4])]

    Attributes:
        shapes: of each granularity's groups, as the search space states them.
        alpha, beta, gamma: logits; shape (rows of all groups, most choices of any group).

    Raises:
        ParameterError: a tensor has another shape than `shapes` says, or is not finite.
    """

    shapes: ParameterShapes
    alpha: Tensor
    beta: Tensor
    gamma: Tensor

    def __post_init__(self) -> None:
        for granularity in GRANULARITIES:
            _check_shape(granularity, self.stacked(granularity), stacked_shape(self.shapes[granularity]))
            for name in self.shapes[granularity]:
                _check_finite(_of(granularity, name), self.group(granularity, name))

    @classmethod
    def zeros(
        cls, shapes: ParameterShapes, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Self:
        """Logits that make every choice equally likely. By default with torch's dtype and device."""
        complete = complete_shapes(shapes)
        stacked = {name: torch.zeros(stacked_shape(complete[name]), dtype=dtype, device=device) for name in GRANULARITIES}
        return cls(complete, **stacked)

    @classmethod
    def starting(
        cls,
        shapes: ParameterShapes,
        logits: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """The logits of `SearchSpace.initial_logits`, zeros where it states none; what the shapes do not name is left out."""
        parameters = cls.zeros(shapes, dtype=dtype, device=device)
        for granularity in GRANULARITIES:
            for name, rows in logits.get(granularity, {}).items():
                if name in parameters.shapes[granularity]:
                    view = parameters.group(granularity, name)
                    view.copy_(torch.tensor(rows, dtype=view.dtype))
        return parameters

    @classmethod
    def one_hot(
        cls,
        shapes: ParameterShapes,
        choices: Mapping[Granularity, Tensor],
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Logits that put all probability on one choice of each row. A granularity that is not given is uniform.

        Args:
            shapes: the search space's.
            choices: granularity to the index of each row's choice; shape (rows,), integers.
            dtype: of the logits; torch's default where not given.
            device: of the logits and choices; torch's default where not given.
        """
        parameters = cls.zeros(shapes, dtype=dtype, device=device)
        for granularity, chosen in choices.items():
            parameters.stacked(granularity).scatter_(1, chosen[:, None], _CERTAIN)
        return parameters

    @classmethod
    def from_groups(cls, shapes: ParameterShapes, groups: Mapping[str, Mapping[str, Tensor]]) -> Self:
        """The parameters with those logits per granularity and group. Gradients reach the given tensors.

        A granularity that the space lacks may be absent.

        Raises:
            ParameterError: a granularity or group is missing or unknown, has another shape than the space's, or is not finite.
        """
        complete = complete_shapes(shapes)
        _check_names(groups, complete)
        like = next(logits for named in groups.values() for logits in named.values())
        stacked = {}
        for granularity in GRANULARITIES:
            widest = stacked_shape(complete[granularity])[1]
            padded = [like.new_zeros(0, widest)]
            for name, expected in complete[granularity].items():
                logits = groups[granularity][name]
                _check_shape(_of(granularity, name), logits, expected)
                padded.append(torch.nn.functional.pad(logits, (0, widest - expected[1])))
            stacked[granularity] = torch.cat(padded)
        return cls(complete, **stacked)

    @classmethod
    def from_json(
        cls,
        data: object,
        shapes: ParameterShapes,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """The parameters of a parsed parameter file: `{"alpha": {group: rows of logits}, "beta": …, "gamma": …}`.

        Args:
            data: the JSON document.
            shapes: the search space's.
            dtype: of the logits; torch's default where not given.
            device: of the logits; torch's default where not given.

        Raises:
            ParameterError: as `from_groups`, or something is no rectangle of numbers.
        """
        document = {granularity: _named(granularity, groups) for granularity, groups in _named("document", data).items()}
        _check_names(document, complete_shapes(shapes))
        groups = {
            granularity: {
                name: _tensor(_of(granularity, name), rows, shapes[granularity][name], dtype, device)
                for name, rows in named.items()
            }
            for granularity, named in document.items()
        }
        return cls.from_groups(shapes, groups)

    def to_json(self) -> dict[str, dict[str, list[list[float]]]]:
        """The parameters as the document that `from_json` reads."""
        return {
            granularity: {name: self.group(granularity, name).tolist() for name in self.shapes[granularity]}
            for granularity in GRANULARITIES
        }

    def stacked(self, granularity: Granularity) -> Tensor:
        """The logits of all groups. Shape: (rows, choices)."""
        tensor: Tensor = getattr(self, granularity)
        return tensor

    def group(self, granularity: Granularity, name: str) -> Tensor:
        """The logits of one group, as a view. Shape: (rows, choices)."""
        groups = self.shapes[granularity]
        rows, choices = groups[name]
        earlier = list(groups)[: list(groups).index(name)]
        first = sum(groups[other][0] for other in earlier)
        return self.stacked(granularity)[first : first + rows, :choices]

    def tensors(self) -> Iterator[Tensor]:
        """The logits of the granularities that the space has, for an optimiser."""
        return (self.stacked(granularity) for granularity in GRANULARITIES if self.shapes[granularity])

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Turn gradients of the logits on or off; returns itself."""
        for tensor in self.tensors():
            tensor.requires_grad_(requires_grad)
        return self


def _of(granularity: str, group: str) -> str:
    return f"{granularity} of group {group!r}"


def _check_names(given: Mapping[str, Mapping[str, object]], shapes: ParameterShapes) -> None:
    _check_same("granularity", given, [name for name in shapes if shapes[name]], shapes)
    for granularity, groups in given.items():
        _check_same(f"group of {granularity}", groups, shapes[granularity], shapes[granularity])


def _check_same(what: str, given: Iterable[str], needed: Iterable[str], known: Iterable[str]) -> None:
    for name in needed:
        if name not in given:
            raise ParameterError(f"{what} {name!r} is missing", hint=f"Needed: {', '.join(needed)}.")
    for name in given:
        if name not in known:
            raise ParameterError(f"unknown {what} {name!r}", hint=f"Known: {', '.join(known) or 'none'}.")


def _check_shape(what: str, logits: Tensor, expected: tuple[int, ...]) -> None:
    if logits.shape != expected:
        raise ParameterError(f"{what} has shape {_times(logits.shape)}; {_times(expected)} is expected", hint=_SHAPES_HINT)


def _check_finite(what: str, logits: Tensor) -> None:
    bad = torch.isfinite(logits.detach()).logical_not().nonzero()
    if len(bad):
        row, choice = bad[0].tolist()
        raise ParameterError(f"{what} is {logits[row, choice].item()} in row {row}, choice {choice}; logits must be finite")


def _named(what: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ParameterError(
            f"{what} must be an object of named values, not {type(value).__name__}",
            hint="The parameters-student.json that a search leaves has the form.",
        )
    return value


def _tensor(
    what: str, rows: object, expected: tuple[int, int], dtype: torch.dtype | None, device: torch.device | str | None
) -> Tensor:
    try:
        return torch.tensor(rows, dtype=dtype or torch.get_default_dtype(), device=device)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ParameterError(
            f"{what} is no rectangle of numbers ({error}); shape {_times(expected)} is expected", hint=_SHAPES_HINT
        ) from error


def _times(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape)) or "()"
