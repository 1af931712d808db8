"""The end of a search by evolution: the selection from the supernet that it has trained."""

from __future__ import annotations

from pathlib import Path

from models.networks.module import network_costs
from models.spaces.registry import create_space
from nas_client.runs.journal import read_journal
from nas_client.runs.manifest import RESULT, is_begun
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import CoSearch
from nas_client.search.epochs import SearchEpoch
from nas_client.search.objective import objective
from nas_client.search.outcome import Candidate, SearchResult
from nas_client.search.progress import SearchObserver
from nas_client.selection.outcome import SelectionResult
from nas_client.selection.run import SELECTION, select
from nas_client.table import LookupTable


def finish_by_selection(
    search: CoSearch,
    config: SearchConfig,
    table: LookupTable,
    folder: Path,
    processes: Processes,
    watch: SearchObserver,
    *,
    stopped: bool,
) -> SearchResult:
    """Select networks, and write the search's result; arguments as of `nas_client.search.cosearch.search`.

    The search's folder gets `result.json`, and the first goal's network as that of the searched role.
    """
    selected = None
    if not stopped:
        where = folder / SELECTION
        begun = is_begun(where)
        processes.wait()
        selected = select(folder, table, where, config, rerank=True, resume=begun, processes=processes, watch=watch.selection)
    result = SearchResult(
        finished=selected is not None and selected.finished,
        epochs=len(read_journal(folder, SearchEpoch)),
        table=table.info.id(),
        pretrained=search.pretrained,
        weights=search.learner.latency.weights,
        latency_share=None,
        candidates={} if selected is None else _candidates(selected, config, table),
        chosen={} if selected is None else _chosen(selected),
    )
    if processes.is_main:
        for role in result.chosen:
            path = folder / f"{role}.json"
            path.write_text(result.architecture(role).model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / RESULT).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    processes.wait()
    return result


def _candidates(selected: SelectionResult, config: SearchConfig, table: LookupTable) -> dict[str, tuple[Candidate, ...]]:
    """The networks of all goals, the first goal's first."""
    space, found = create_space(table.info.space), []
    for chosen in selected.chosen.values():
        costs = network_costs(space.plan(chosen.architecture))
        value = objective(chosen.accuracy, chosen.latency_ms, target_ms=config.target_ms, exponent=config.exponent)
        found.append(
            Candidate(
                alternative=chosen.alternative,
                estimate_ms=chosen.latency_ms,
                macs=costs.macs,
                parameters=costs.parameters,
                accuracy=chosen.accuracy,
                objective=value,
                architecture=chosen.architecture,
            )
        )
    return {selected.role: tuple(found)} if found else {}


def _chosen(selected: SelectionResult) -> dict[str, str]:
    first = next(iter(selected.chosen.values()), None)
    return {} if first is None else {selected.role: first.alternative}
