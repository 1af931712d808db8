"""What a job has measured and what is left of it: in the store for good, in memory for the next decision.

Everything here can be restored from the store, so that a job that was killed goes on where it was. Rounds are numbered through
a table's life and never entered twice: a restored job begins a new one, in which what the interrupted round had measured
already is one round ahead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from models.spec.measurements import Measurement, Status
from profiler_service.jobs.planner import PlannedWorkload
from profiler_service.measure.results import Conditions, failed, measured
from profiler_service.measure.sentinel import is_slow
from profiler_service.measure.statistics import median
from profiler_service.measure.stopping import BudgetSettings, StoppingRule
from profiler_service.measure.values import VisitMedian, round_values
from profiler_service.measure.visits import Visit
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BuildReport, Failure

_WORKLOADS_AT_ONCE = 32
"""Workloads whose samples are in memory while their measurements are made."""


class JobTracker:
    """The books of one running job.

    Args:
        store: where visits and measurements go at once.
        table_id: the job's table.
        workloads: what is to be measured.
        budget: decides when a workload is finished.
        normalised: whether values are in sentinel units.
    """

    def __init__(
        self,
        store: Store,
        table_id: str,
        workloads: Sequence[PlannedWorkload],
        budget: BudgetSettings,
        *,
        normalised: bool,
    ) -> None:
        self._store, self._table_id, self._budget, self._normalised = store, table_id, budget, normalised
        self._pending = {planned.key: planned for planned in workloads}
        self._medians: defaultdict[str, list[VisitMedian]] = defaultdict(list)
        self._conditions: dict[str, Conditions] = {}
        self._reasons: dict[str, str] = {}
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
        """Remember what building a workload's graph told."""
        self._conditions[report.key] = Conditions(
            build_s=report.build_s,
            engine_bytes=report.engine_bytes,
            peak_memory_bytes=report.peak_memory_bytes,
            output_error=report.output_error,
        )

    def told_bytes(self, graph_key: str) -> int:
        """What building told of the memory that a graph's engine holds; 0 where it told nothing."""
        told = self._conditions.get(graph_key, Conditions())
        return (told.engine_bytes or 0) + (told.peak_memory_bytes or 0)

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

    def begin_round(self) -> int:
        """The number of a round that nothing of this job was visited in."""
        self._next_round += 1
        return self._next_round - 1

    def save_visits(self, visits: Sequence[Visit], *, host_load: float | None = None) -> None:
        """Keep the visits of one group, whole or not at all."""
        self._store.save_visits(self._table_id, visits)
        self._remember(visits)
        if host_load is not None:
            for visit in visits:
                self._loads[visit.graph_key].append(host_load)

    def finalize(self) -> None:
        """Save the measurement of everything pending that needs no further round."""
        candidates = [planned for planned in self.pending if self._rounds(planned) >= self._budget.min_rounds]
        if not candidates:
            return
        if self._normalised and self._scale is None:
            self._scale = self._store.learn_scale(self._table_id)
        finished = [planned for planned in candidates if self._rule(planned, self.reference_ms).done]
        for start in range(0, len(finished), _WORKLOADS_AT_ONCE):
            self._finish(finished[start : start + _WORKLOADS_AT_ONCE])

    def expected_rounds_left(self) -> dict[str, int]:
        """Workload key to the rounds still to be expected, at least one, of everything pending."""
        unit_ms = self.reference_ms
        if self._normalised and unit_ms is None:
            unit_ms = self._sentinel_now_ms()
        return {planned.key: max(1, self._rule(planned, unit_ms).expected_rounds_left()) for planned in self.pending}

    def _restore(self) -> None:
        graphs = {planned.graph.key for planned in self.pending}
        graphs |= {planned.base.key for planned in self.pending if planned.base is not None}
        self._remember(self._store.visits(self._table_id, sorted(graphs)))

    def _remember(self, visits: Iterable[Visit]) -> None:
        for visit in visits:
            self._medians[visit.graph_key].append(VisitMedian.of(self._judged(visit)))
            self._next_round = max(self._next_round, visit.round + 1)

    def _rounds(self, planned: PlannedWorkload) -> int:
        return len({visit.round for visit in self._medians[planned.graph.key]})

    def _rule(self, planned: PlannedWorkload, reference_ms: float | None) -> StoppingRule:
        base = None if planned.base is None else self._medians[planned.base.key]
        return StoppingRule.of(self._budget, round_values(self._medians[planned.graph.key], base, reference_ms))

    def _sentinel_now_ms(self) -> float | None:
        """The sentinel's median over the visits that are known, for a time estimate; None before the first."""
        seen = [visit.sentinel_ms for visits in self._medians.values() for visit in visits]
        return median(seen) if seen else None

    def _finish(self, finished: Sequence[PlannedWorkload]) -> None:
        visits = self._visits(planned.graph.key for planned in finished)
        bases = self._visits(planned.base.key for planned in finished if planned.base is not None)
        for planned in finished:
            measurement = measured(
                planned.workload,
                visits[planned.graph.key],
                None if planned.base is None else bases[planned.base.key],
                reference_ms=self.reference_ms,
                budget=self._budget,
                conditions=self._conditions_of(planned),
            )
            self._close(planned, measurement)
            self.measured += 1

    def _visits(self, graph_keys: Iterable[str]) -> Mapping[str, list[Visit]]:
        by_graph: defaultdict[str, list[Visit]] = defaultdict(list)
        for visit in self._store.visits(self._table_id, sorted(set(graph_keys))):
            by_graph[visit.graph_key].append(self._judged(visit))
        return by_graph

    def _judged(self, visit: Visit) -> Visit:
        """The visit as it counts by what is known of the target now: a job that began in a slow phase took that for quiet."""
        slow = self._normalised and is_slow(visit.sentinel_ms, self._scale)
        return visit.model_copy(update={"accepted": False}) if slow else visit

    def _fail(self, planned: PlannedWorkload, status: Status, message: str) -> None:
        conditions = self._conditions_of(planned)
        self._close(planned, failed(planned.workload, status, message, at=datetime.now(UTC), conditions=conditions))
        self.failed += 1

    def _close(self, planned: PlannedWorkload, measurement: Measurement) -> None:
        self._store.save_measurement(self._table_id, measurement, reference_ms=self.reference_ms)
        del self._pending[planned.key]
        self._medians.pop(planned.graph.key, None)

    def _conditions_of(self, planned: PlannedWorkload) -> Conditions:
        known = self._conditions.get(planned.graph.key, Conditions())
        loads = self._loads.get(planned.graph.key)
        return known if not loads else replace(known, host_load=median(loads))
