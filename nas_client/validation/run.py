"""One validation: networks drawn from a search space, estimated by tables, and measured by the service that measured these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.networks.module import network_costs
from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from models.spec.measurements import Budget, Measurement
from models.spec.operators import OperatorSpec
from models.spec.wire import JobCreate
from nas_client.errors import CalibrationError
from nas_client.service import ServiceClient, Watch, run_job
from nas_client.table import LookupTable, require_measured_for
from nas_client.uncertainty import sum_uncertainty
from nas_client.validation.calibration import Features
from nas_client.validation.fitting import MIN_NETWORKS
from nas_client.validation.scoring import NamedNetwork, Sum, TableScore, score_sums

DRAWS_IN_VAIN = 200
"""Draws in a row that bring no new architecture, after which the space counts as exhausted."""


@dataclass(frozen=True)
class Network:
    """An architecture and what is known of it before it is measured.

    Attributes:
        operators: the terms of its estimate, repeats included.
        macs: multiply-adds of the whole network.
    """

    architecture: ArchitectureSpec
    operators: tuple[OperatorSpec, ...]
    macs: int


def sample_networks(space: SearchSpace, count: int, *, seed: int) -> tuple[Network, ...]:
    """Different random architectures of a space; the same for the same seed.

    Raises:
        InvalidSpecError: the space has fewer different architectures than asked for, as far as sampling shows.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, ArchitectureSpec] = {}
    in_vain = 0
    while len(found) < count:
        architecture = space.sample(rng)
        in_vain = in_vain + 1 if architecture.key() in found else 0
        found[architecture.key()] = architecture
        if in_vain > DRAWS_IN_VAIN:
            raise InvalidSpecError(
                f"{space.spec.label()} has hardly more than {len(found)} different networks; {count} were asked for",
                hint="Ask for fewer.",
            )
    return tuple(describe(space, architecture) for architecture in found.values())


def describe(space: SearchSpace, architecture: ArchitectureSpec) -> Network:
    """What is known of an architecture without measuring it."""
    plan = space.plan(architecture)
    return Network(architecture, tuple(plan.operators()), network_costs(plan).macs)


@dataclass(frozen=True)
class LeftOut:
    """A network that cannot be scored, and why."""

    network: Network
    reason: str


@dataclass(frozen=True)
class ValidationRun:
    """What was measured, and what each table is worth on it.

    Attributes:
        tables, scores: in the same order, all on the same networks.
        networks, measurements: what was scored, in the same order.
        left_out: the networks of the sample that were not.
    """

    tables: tuple[LookupTable, ...]
    scores: tuple[TableScore, ...]
    networks: tuple[Network, ...]
    measurements: tuple[Measurement, ...]
    left_out: tuple[LeftOut, ...]


def validate(
    service: ServiceClient,
    tables: Sequence[LookupTable],
    *,
    architectures: int,
    budget: Budget,
    seed: int,
    watch: Watch,
    named: Sequence[ArchitectureSpec] = (),
) -> ValidationRun:
    """Sample networks, have them measured as the first table was, and score every table on them.

    Args:
        service: measures on the tables' target.
        tables: of one search space and target; they may differ in protocol.
        architectures: how many networks to sample.
        budget: for each network's measurement.
        seed: draws the sample and the halves.
        watch: receives the job's progress.
        named: further architectures, measured beside the sample and predicted by what is fitted on it.

    Raises:
        TableMismatchError: a table or named architecture is of another search space or target than the first or the service.
        CalibrationError: too few of the networks can be estimated or measured, or a named one cannot.
        JobFailedError: see `run_job`.
    """
    first = tables[0]
    target = service.target().target
    for table in tables:
        table.require_target(target)
        table.require_space(first.info.space)
        for architecture in named:
            table.require_architecture(architecture)
    space = create_space(first.info.space)
    sample = sample_networks(space, architectures, seed=seed)
    sampled, left_out = _estimable(sample, tables)
    _require_enough(len(sampled), left_out)
    named_networks, lacking = _estimable([describe(space, architecture) for architecture in named], tables)
    for left in lacking:
        raise CalibrationError(f"{left.network.architecture.label()}: {left.reason}", hint=first.measuring_advice())
    scored: list[tuple[Network, Measurement]] = []
    results = _measure(service, first, [*sampled, *named_networks], budget, watch)
    for network, result in zip(sampled, results[: len(sampled)], strict=True):
        if result is not None and result.value_ms is not None:
            scored.append((network, result))
        else:
            left_out.append(LeftOut(network, _why_unmeasured(result)))
    _require_enough(len(scored), left_out)
    tables = [LookupTable(service.columns(table.info.id())) for table in tables]  # the job may have moved their scale
    networks = tuple(network for network, _ in scored)
    measurements = tuple(measurement for _, measurement in scored)
    pairs = zip(named_networks, results[len(sampled) :], strict=True)
    of_named = [(network, _measured(network, result)) for network, result in pairs]
    scores = tuple(_with_named(_score(table, networks, measurements, seed), table, of_named) for table in tables)
    return ValidationRun(tuple(tables), scores, networks, measurements, tuple(left_out))


def _estimable(sample: Sequence[Network], tables: Sequence[LookupTable]) -> tuple[list[Network], list[LeftOut]]:
    """Those networks that every table has all entries for, and the others."""
    estimable, left_out = [], []
    for network in sample:
        missing = [term for table in tables for term in table.collect(network.operators) if term.ms is None]
        if missing:
            left_out.append(LeftOut(network, f"no value for {missing[0].operator.label()}: {missing[0].reason}"))
        else:
            estimable.append(network)
    return estimable, left_out


def _require_enough(count: int, left_out: Sequence[LeftOut]) -> None:
    needed = 2 * MIN_NETWORKS
    if count < needed:
        reason = f"; the first is left out because: {left_out[0].reason}" if left_out else ""
        raise CalibrationError(
            f"{count} networks are too few to fit on one half and score on the other; {needed} are needed{reason}",
            hint="Sample more architectures, or complete the table.",
        )


def _measure(
    service: ServiceClient, table: LookupTable, networks: Sequence[Network], budget: Budget, watch: Watch
) -> list[Measurement | None]:
    """The networks' measurements, in order."""
    info = table.info
    architectures = tuple(network.architecture for network in networks)
    workloads = tuple({architecture.key(): architecture for architecture in architectures}.values())
    job = run_job(service, JobCreate(space=info.space, workloads=workloads, protocol=info.protocol, budget=budget), watch)
    require_measured_for(table, job)
    return service.lookup(info.id(), architectures)


def _measured(network: Network, result: Measurement | None) -> Measurement:
    if result is None or result.value_ms is None:
        reason = _why_unmeasured(result)
        raise CalibrationError(f"{network.architecture.label()} was not measured: {reason}", hint="See the service's log.")
    return result


def _why_unmeasured(result: Measurement | None) -> str:
    return "the service has no measurement" if result is None else f"{result.status.value}: {result.message}"


def _with_named(score: TableScore, table: LookupTable, of_named: Sequence[tuple[Network, Measurement]]) -> TableScore:
    named = tuple(_named(score, table, network, measurement) for network, measurement in of_named)
    return replace(score, validation=score.validation.model_copy(update={"named": named}))


def _named(score: TableScore, table: LookupTable, network: Network, measurement: Measurement) -> NamedNetwork:
    summed = sum_of(network, table)
    prediction = score.calibration.predict(Features.of([summed.ms], [summed.terms]))
    assert measurement.value_ms is not None  # see _measured
    return NamedNetwork(
        architecture=network.architecture.key(),
        label=network.architecture.label(),
        measured_ms=measurement.value_ms,
        stderr_ms=measurement.stderr_ms,
        sum_ms=summed.ms,
        calibrated_ms=float(prediction.ms[0]),
        interval_ms=(float(prediction.low_ms[0]), float(prediction.high_ms[0])),
        plain_ms=measurement.plain_ms,
        sum_interval_ms=summed.interval_ms,
    )


def sum_of(network: Network, table: LookupTable) -> Sum:
    """The sum of a network's entries, all of which the table has. Raises MissingEntryError where it has not."""
    ms = sum(map(table.lookup, network.operators))
    plain = [entry.plain_ms for operator in network.operators if (entry := table.entry(operator.key())) is not None]
    known = [ms for ms in plain if ms is not None]
    certainty = sum_uncertainty(network.operators, table)
    return Sum(
        ms=ms,
        terms=len(network.operators),
        plain_ms=sum(known) if len(known) == len(plain) else None,
        interval_ms=None if certainty is None else certainty.interval_ms,
    )


def _score(table: LookupTable, networks: Sequence[Network], measurements: Sequence[Measurement], seed: int) -> TableScore:
    sums = [sum_of(network, table) for network in networks]
    macs = [network.macs for network in networks]
    return score_sums(
        sums, macs, measurements, seed=seed, table=table.verdict, table_id=table.info.id(), threads=table.info.target.threads
    )
