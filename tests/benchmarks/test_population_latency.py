"""What the latency of a discrete network costs where it is one of many: an evolution looks at thousands."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import SpaceSpec
from nas_client.estimates import estimate
from nas_client.latency.population import OperatorCounts, PopulationLatency
from nas_client.table import LookupTable
from tests.support.fake_service import make_table

NETWORKS, ROUNDS, SINGLES = 500, 15, 5
LEAST_RATIO = 10
"""Times as fast as one estimate after the other. The aim is 50 µs a network at L = 16, which is printed beside it."""


@pytest.mark.benchmark
def test_a_population_is_summed_much_faster_than_its_networks() -> None:
    space = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(1024, 2048)))
    table = LookupTable(make_table(space.spec))
    rng = np.random.default_rng(0)
    population = [space.random_choices(rng) for _ in range(NETWORKS)]
    started = time.perf_counter()
    latency = PopulationLatency(OperatorCounts(space), table)
    prepared_s = time.perf_counter() - started
    latency(population)
    each_us, single_us = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        latency(population)
        each_us.append(1e6 * (time.perf_counter() - started) / NETWORKS)
    for choices in population[:SINGLES]:
        started = time.perf_counter()
        estimate(space.network_of(choices), table)
        single_us.append(1e6 * (time.perf_counter() - started))
    each, single = statistics.median(each_us), statistics.median(single_us)
    print(
        f"\nlatency and its error of {NETWORKS} networks, L = 16: {each:.1f} µs a network (aim: 50 µs); one estimate by itself "
        f"{single:.0f} µs, ratio {single / each:.0f} (at least {LEAST_RATIO}); prepared once in {prepared_s:.1f} s"
    )
    assert single / each >= LEAST_RATIO
