"""What `loss` and `sensitivity` compute. They import this when they run: torch takes seconds, and other commands need none."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from models.spaces.base import SearchSpace
from models.spaces.published import ParameterReader
from models.spaces.search_defaults import LatencySettings
from nas_client.errors import ParameterError
from nas_client.latency.coefficients import Coefficients
from nas_client.latency.decoupled import DecoupledLatency
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters
from nas_client.latency.relaxation import Gumbel, Relaxation, expected
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.latency.sensitivity import Weights, sensitivity, solve_weights

WARMUP_STEPS = 3
"""Steps before the timed ones; the first fill caches and allocate."""


@dataclass(frozen=True)
class Loss:
    """The decoupled latency of one set of architecture parameters, in ms.

    Attributes:
        operator_ms, downsample_ms, expansion_ms, weighted_ms: see `DecoupledLatency`.
        weights: of the three terms.
        relaxed_ms: with α, β and γ all free.
        step_ms: median of one forward and backward pass; None where none was timed.
    """

    operator_ms: float
    downsample_ms: float
    expansion_ms: float
    weighted_ms: float
    weights: Weights
    relaxed_ms: float
    step_ms: float | None = None


def evaluate_loss(
    coefficients: Coefficients, logits: ArchitectureParameters, weights: Weights, *, gumbel_seed: int | None, repeat: int
) -> Loss:
    """All terms in float64, and, where `repeat` is not 0, the time of that many steps. On one thread: tensors so small gain
    nothing from more, and on a busy machine threads that wait for each other take a hundred times as long.

    Args:
        coefficients: of a table.
        logits: float64.
        weights: of the three terms.
        gumbel_seed: draws the widths; None for widths in expectation.
        repeat: how many steps to time.
    """

    def widths() -> Relaxation:
        """A sampler for each module, so that the relaxed latency sees the widths that the loss sees."""
        return expected if gumbel_seed is None else Gumbel(generator=torch.Generator().manual_seed(gumbel_seed))

    torch.set_num_threads(1)
    decoupled = DecoupledLatency(coefficients, weights=weights, widths=widths(), dtype=torch.float64)
    relaxed = RelaxedLatency(coefficients, widths=widths(), dtype=torch.float64)
    with torch.no_grad():
        terms, relaxed_ms = decoupled(logits), relaxed(logits)
    return Loss(
        operator_ms=terms.operator_ms.item(),
        downsample_ms=terms.downsample_ms.item(),
        expansion_ms=terms.expansion_ms.item(),
        weighted_ms=terms.weighted_ms.item(),
        weights=weights,
        relaxed_ms=relaxed_ms.item(),
        step_ms=median_step_ms(decoupled.float(), logits, repeat) if repeat else None,
    )


def median_step_ms(latency: DecoupledLatency, logits: ArchitectureParameters, repeat: int) -> float:
    """Median time of one training step's latency loss, forward and backward, in float32 as in training."""
    stacked = {name: logits.stacked(name).float() for name in GRANULARITIES}
    trained = ArchitectureParameters(logits.shapes, **stacked).requires_grad_()
    times_ms = []
    for _ in range(WARMUP_STEPS + repeat):
        for tensor in trained.tensors():
            tensor.grad = None
        start = time.perf_counter()
        latency(trained).weighted_ms.backward()
        times_ms.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times_ms[WARMUP_STEPS:])


SOLVED = "solved"
"""For weights: those that balance the table's sensitivities."""


def weights_of(text: str | None, coefficients: Coefficients, defaults: LatencySettings) -> Weights:
    """`w1,w2,w3` or `solved` as weights; the space's own where nothing is given. Raises ParameterError, SensitivityError."""
    if text is None and not isinstance(defaults.weights, str):
        return Weights.of(defaults.weights)
    if text is None or text == SOLVED:
        return solve_weights(sensitivity(coefficients))
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        hint = f"Write three numbers, 0.001,0.997,0.002, or `{SOLVED}`."
        raise ParameterError(f"weights {text!r} are not numbers", hint=hint) from error
    return Weights.of(values)


def read_parameters(path: Path, space: SearchSpace, *, widest: bool = False) -> ArchitectureParameters:
    """The logits in a file, as float64.

    Args:
        path: a JSON document, see `ArchitectureParameters.from_json`; or a file as the space's authors published it.
        space: whose they are.
        widest: whether widths are not searched: γ is left out then, and may be absent.

    Raises:
        ParameterError: the file is neither, or its logits have other shapes than the space's, or are not finite.
        InvalidSpecError: a file in the authors' format is damaged, or holds something else.
        OSError: it cannot be opened.
    """
    data: object
    shapes = space.parameter_shapes()
    if isinstance(space, ParameterReader) and path.suffix in space.parameter_suffixes:
        data = space.read_published_parameters(path)
    else:
        data = _read_json(path)
    if widest and isinstance(data, Mapping):
        data, shapes = {**data, "gamma": {}}, {**shapes, "gamma": {}}
    return ArchitectureParameters.from_json(data, shapes, dtype=torch.float64)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: not a JSON document: {error}", hint="Check that the file is complete.") from error
