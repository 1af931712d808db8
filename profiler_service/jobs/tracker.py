"""What a job has measured and what is pending: in the store for good, in memory for the next decision and for values.

Everything here can be restored from the store, so that a job that was killed goes on where it was. Rounds are numbered through
a table's life and never entered twice: a restored job begins a new one, in which what the interrupted round had measured
already is one round ahead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from models.spec.measurements import Measurement, Status
from profiler_service.jobs.planner import PlannedWorkload
from profiler_service.measure.results import EngineRecord, failed, measured
from profiler_service.measure.statistics import median
from profiler_service.measure.stopping import BudgetSettings, StoppingRule
from profiler_service.measure.values import RoundValue, VisitMedian, round_values
from profiler_service.measure.visits import Visit
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BuildReport, Failure

_SHOWN = 3
"""Failures beside values that are told in full."""


class JobTracker:
    """The books of one running job.

    Args:
        store: where visits and measurements go at once.
        table_id: the job's table.
        workloads: what is to be measured.
        budget: decides when a workload is finished.
        normalised: whether values are in sentinel units.
        anew: keys of graphs whose visits from before `since` do not count. They stay until there is a new value.
        since: see `anew`.

    Attributes:
        kept: what failed although the table has its value, which stays; for people.
    """

    def __init__(
        self,
        store: Store,
        table_id: str,
        workloads: Sequence[PlannedWorkload],
        budget: BudgetSettings,
        *,
        normalised: bool,
        anew: Collection[str] = (),
        since: datetime | None = None,
    ) -> None:
        self._anew, self._since = frozenset(anew), since
        self.kept: list[str] = []
        self._store, self._table_id, self._budget, self._normalised = store, table_id, budget, normalised
        self._pending = {planned.key: planned for planned in workloads}
        self._visits: dict[str, list[Visit]] = {planned.graph.key: [] for planned in workloads}
        self._medians: defaultdict[str, list[VisitMedian]] = defaultdict(list)
        self._engines: dict[str, EngineRecord] = {}
        self._reasons: dict[str, str] = {}
        self._crashed: set[str] = set()
        self._loads: defaultdict[str, list[float]] = defaultdict(list)
        self._next_round = 0
        self._scale = store.table_info(table_id).scale if normalised else None
        self.measured = self.failed = 0
        self._restore()

    @property
    def pending(self) -> tuple[PlannedWorkload, ...]:
        """What has neither a value nor a failure yet."""
        return tuple(self._pending.values())

    @property
    def reference_ms(self) -> float | None:
        """What a sentinel unit is worth; None before the first visit to the target, or where the protocol has no such units."""
        return None if self._scale is None else self._scale.reference_ms

    @property
    def rounds_done(self) -> int:
        """Rounds of the pending workload that is furthest."""
        return max((self._rounds(planned) for planned in self.pending), default=0)

    def note_build(self, report: BuildReport) -> None:
        """Remember what building a workload's graph showed."""
        self._engines[report.key] = EngineRecord(
            build_s=report.build_s,
            engine_bytes=report.engine_bytes,
            peak_memory_bytes=report.peak_memory_bytes,
            output_error=report.output_error,
        )

    def reported_bytes(self, graph_key: str) -> int:
        """Memory that a graph's engine holds, as its build reported it; 0 where it reported nothing."""
        known = self._engines.get(graph_key, EngineRecord())
        return (known.engine_bytes or 0) + (known.peak_memory_bytes or 0)

    def fail(self, failure: Failure) -> None:
        """Save as failed whatever is pending and needs that graph, as itself or as its base."""
        if failure.key is not None:
            self._reasons[failure.key] = failure.message
        for planned in self.pending:
            if failure.key == planned.graph.key:
                self._fail(planned, failure.status, failure.message)
            elif planned.base is not None and failure.key == planned.base.key:
                self._fail(planned, failure.status, f"{planned.base.request.label()}: {failure.message}")

    def why_failed(self, graph_key: str) -> str:
        """Why a graph failed in this run of the job, for people; nothing where it did not."""
        return self._reasons.get(graph_key, "")

    def is_first_crash(self, graph_key: str) -> bool:
        """Whether no engine of that graph took its process along before in this run of the job. Asking counts as a crash."""
        first = graph_key not in self._crashed
        self._crashed.add(graph_key)
        return first

    def begin_round(self) -> int:
        """The number of a round that nothing of the table was visited in."""
        self._next_round += 1
        return self._next_round - 1

    def save_visits(self, visits: Sequence[Visit], *, host_load: float | None = None) -> None:
        """Save the visits of one group, all or none."""
        self._store.save_visits(self._table_id, visits)
        self._remember(visit.as_stored() for visit in visits)
        if host_load is not None:
            for visit in visits:
                self._loads[visit.graph_key].append(host_load)

    def finalize(self) -> None:
        """Save the measurement of everything pending that needs no further round."""
        candidates = [planned for planned in self.pending if self._rounds(planned) >= self._budget.min_rounds]
        if candidates and self._normalised and self._scale is None:
            self._learn_scale()
        for planned in candidates:
            rounds = self._round_values(planned, self.reference_ms)
            if StoppingRule.of(self._budget, rounds).done:
                self._finish(planned, rounds)

    def failed_beside_values(self) -> str:
        """What failed while its earlier value stays, the first of it in full; empty where nothing did."""
        if not (kept := self.kept):
            return ""
        shown = "; ".join(kept[:_SHOWN]) + (f"; {len(kept) - _SHOWN} more" if len(kept) > _SHOWN else "")
        return (
            f"{len(kept)} of the workloads failed this time; the values that they had stay: {shown}. "
            "Submit the job again with --remeasure to try them once more"
        )

    def expected_rounds_left(self) -> dict[str, int]:
        """Workload key to the rounds still to be expected, at least one, of everything pending."""
        unit_ms = self.reference_ms
        if self._normalised and unit_ms is None:
            unit_ms = self._sentinel_now_ms()
        return {planned.key: self._rounds_left(planned, unit_ms) for planned in self.pending}

    def _restore(self) -> None:
        graphs = {planned.graph.key for planned in self.pending}
        graphs |= {planned.base.key for planned in self.pending if planned.base is not None}
        visits = self._store.visits(self._table_id, sorted(graphs))
        self._next_round = self._store.next_round(self._table_id)
        self._remember(visit for visit in visits if not self._is_past(visit))

    def _remember(self, visits: Iterable[Visit]) -> None:
        for visit in visits:
            if visit.graph_key in self._visits:
                self._visits[visit.graph_key].append(visit)
            self._medians[visit.graph_key].append(self._by_scale(VisitMedian.of(visit)))
            self._next_round = max(self._next_round, visit.round + 1)

    def _is_past(self, visit: Visit) -> bool:
        """Of a visit that was there before. What this run makes counts, even where the clock was set back since."""
        return self._since is not None and visit.graph_key in self._anew and visit.started_at < self._since

    def _learn_scale(self) -> None:
        """Learn the scale, and with it which visits were slow: a job that began in a slow phase took that for quiet."""
        self._scale = self._store.learn_scale(self._table_id)
        for key, medians in self._medians.items():
            self._medians[key] = [self._by_scale(visit) for visit in medians]

    def _by_scale(self, visit: VisitMedian) -> VisitMedian:
        return visit.on(self._scale) if self._normalised else visit

    def _rounds(self, planned: PlannedWorkload) -> int:
        return len({visit.round for visit in self._medians[planned.graph.key]})

    def _round_values(self, planned: PlannedWorkload, reference_ms: float | None) -> list[RoundValue]:
        base = None if planned.base is None else self._medians[planned.base.key]
        return round_values(self._medians[planned.graph.key], base, reference_ms)

    def _rounds_left(self, planned: PlannedWorkload, reference_ms: float | None) -> int:
        rule = StoppingRule.of(self._budget, self._round_values(planned, reference_ms))
        return max(1, rule.expected_rounds_left())

    def _sentinel_now_ms(self) -> float | None:
        """The sentinel's median over the visits that are known, for a time estimate; None before the first."""
        seen = [visit.sentinel_ms for visits in self._medians.values() for visit in visits]
        return median(seen) if seen else None

    def _finish(self, planned: PlannedWorkload, rounds: Sequence[RoundValue]) -> None:
        measurement = measured(
            planned.workload,
            self._visits[planned.graph.key],
            rounds,
            subtracted=planned.base is not None,
            reference_ms=self.reference_ms,
            budget=self._budget,
            engine=self._engine_of(planned),
        )
        if self._since is not None and planned.graph.key in self._anew:
            counted = min(visit.started_at for visit in self._visits[planned.graph.key])
            self._store.forget_visits(self._table_id, [planned.graph.key], before=min(self._since, counted))
        self._close(planned, measurement)
        self.measured += 1

    def _fail(self, planned: PlannedWorkload, status: Status, message: str) -> None:
        engine = self._engine_of(planned)
        measurement = failed(planned.workload, status, message, at=datetime.now(UTC), engine=engine)
        if not self._close(planned, measurement):
            self.kept.append(f"{planned.workload.label()}: {status.value.replace('_', ' ')}, {message}")
        self.failed += 1

    def _close(self, planned: PlannedWorkload, measurement: Measurement) -> bool:
        """Whether it was saved: a failure takes no value's place."""
        saved = self._store.save_measurement(self._table_id, measurement, reference_ms=self.reference_ms)
        del self._pending[planned.key]
        self._visits.pop(planned.graph.key, None)
        self._medians.pop(planned.graph.key, None)
        return saved

    def _engine_of(self, planned: PlannedWorkload) -> EngineRecord:
        known = self._engines.get(planned.graph.key, EngineRecord())
        loads = self._loads.get(planned.graph.key)
        return known if not loads else replace(known, host_load=median(loads))
