"""The latencies of a population are those of its networks, one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.spaces.base import SearchSpace
from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.fasterseg.variation import paths
from models.spaces.registry import create_space
from models.spaces.variation import HeadTerm
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError, MissingEntryError
from models.spec.measurements import ProtocolName
from models.spec.tables import Table
from nas_client.estimates import estimate
from nas_client.latency.population import OperatorCounts, PopulationLatency
from nas_client.table import LookupTable
from tests.support.fake_service import make_table
from tests.support.fasterseg_networks import branches_of
from tests.support.toy_space import ToySpace


def space_of(layers: int, version: int = 0, branches: int = 2) -> SearchSpace:
    parameters = {"layers": layers, "base_channels": 3, "stem_width": 4, "widths": (4, 8), "branches": branches}
    return create_space(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters=parameters, version=version))


SPACES = [
    space_of(3),
    space_of(4),
    space_of(7),
    space_of(4, version=1),
    space_of(5, branches=1),
    space_of(5, branches=3),
    create_space(SpaceSpec(name=ToySpace.name, input_size=(16, 24))),
    create_space(SpaceSpec(name="mfasterseg", input_size=(32, 64), parameters={"layers": 4, "widths": (4, 8)})),
    create_space(SpaceSpec(name="rspnet", input_size=(64, 96), parameters={"layers": 1, "stack": 3, "base_width": 4})),
    create_space(SpaceSpec(name="search_net", input_size=(16, 24), parameters={"base_channels": 4, "levels": 2, "nodes": 2})),
]
COUNTS = {id(space): OperatorCounts(space) for space in SPACES}
TABLES = {
    (id(space), protocol): LookupTable(make_table(space.spec, protocol=protocol))
    for space in SPACES
    for protocol in (ProtocolName.IN_CONTEXT, ProtocolName.ISOLATED)
}


@settings(max_examples=40, deadline=None)
@given(
    space=st.sampled_from(SPACES),
    protocol=st.sampled_from((ProtocolName.IN_CONTEXT, ProtocolName.ISOLATED)),
    seed=st.integers(0, 2**32),
)
def test_sums_and_their_errors_are_those_of_an_estimate(space: SearchSpace, protocol: ProtocolName, seed: int) -> None:
    rng, table = np.random.default_rng(seed), TABLES[id(space), protocol]
    population = [space.random_choices(rng) for _ in range(4)]
    population += [space.mutate(choices, rng) for choices in population]
    latency = PopulationLatency(COUNTS[id(space)], table)
    assert latency.certain
    for choices, sum_ms, stderr_ms in zip(population, *latency(population), strict=True):
        found = estimate(space.network_of(choices), table)
        assert found.uncertainty is not None
        assert sum_ms == pytest.approx(found.sum_ms, rel=1e-12)
        assert stderr_ms == pytest.approx(found.uncertainty.stderr_ms, rel=1e-9)


def test_entries_that_do_not_say_how_certain_they_are_are_named_uncertain() -> None:
    space = SPACES[0]
    whole = TABLES[id(space), ProtocolName.IN_CONTEXT].table
    entries = tuple(entry.model_copy(update={"stderr_ms": None}) for entry in whole.entries)
    assert not PopulationLatency(COUNTS[id(space)], LookupTable(Table(info=whole.info, entries=entries))).certain
    with pytest.raises(MissingEntryError, match="no value for"):
        PopulationLatency(COUNTS[id(space)], LookupTable(Table(info=whole.info, entries=whole.entries[5:])))


def test_a_head_that_depends_on_more_than_the_space_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than summed up wrongly."""

    def none(self: FasterSegSpace) -> tuple[HeadTerm, ...]:
        return ()

    monkeypatch.setattr(FasterSegSpace, "head_terms", none)
    with pytest.raises(InvalidSpecError, match="are not those of its latency graph and its head") as caught:
        OperatorCounts(space_of(7))
    assert "head_terms" in caught.value.hint


@pytest.mark.parametrize("layers", [3, 4, 7])
@pytest.mark.parametrize("ends", [(8, 16), (8, 32), (16, 32), (8, 16, 32)])
def test_every_way_to_downsample_is_drawn_equally_often(layers: int, ends: tuple[int, ...]) -> None:
    """Each network of the listed paths is another, and together they are all that any β leads to."""
    space = space_of(layers)
    alternative = ",".join(map(str, ends))
    rng = np.random.default_rng(0)
    choices = space.random_choices(rng, alternative=alternative)

    def scales(beta: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        changed = type(choices)(choices.alpha, beta, choices.gamma, alternative)
        return tuple(branch.scales for branch in branches_of(space.network_of(changed)))

    listed = [scales(beta) for beta in paths(layers, ends)]
    rows = len(space.row_counts["beta"])
    every = {scales(tuple(int(bit) for bit in np.binary_repr(code, rows))) for code in range(2**rows)} if rows < 8 else None
    assert len(set(listed)) == len(listed)
    assert every is None or set(listed) == every
    counted = Counter(scales(space.random_paths(alternative, rng)) for _ in range(20 * len(listed)))
    assert set(counted) == set(listed)
