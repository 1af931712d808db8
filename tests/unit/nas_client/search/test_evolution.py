"""The parts of an evolution: fair paths, goals and fronts, generations, and what a network is worth in a supernet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.spaces.variation import RowChoices
from models.spec.errors import InvalidSpecError
from models.supernets.base import Mixture
from nas_client.data.loading import evaluation_batches
from nas_client.data.transforms import Batch, EvaluationTransform
from nas_client.errors import DatasetError
from nas_client.latency.population import OperatorCounts, PopulationLatency
from nas_client.runs.processes import Processes
from nas_client.search.config import SelectionSettings
from nas_client.search.progress import RngKey
from nas_client.search.selection_images import selection_split
from nas_client.search.setup import SearchData
from nas_client.search.single_paths import FairPaths
from nas_client.search.supernet_evaluation import evaluate_supernet
from nas_client.selection.candidates import Candidate, front, spread_over
from nas_client.selection.evolution import Evolution
from nas_client.selection.goals import Goal, goals_of
from nas_client.selection.outcome import choose, self_check
from nas_client.selection.scoring import SupernetScorer
from nas_client.selection.short_trainings import rank_correlation
from tests.support.searches import SPACE, prepared, small_table
from tests.support.selections import evolving

LATENCIES = PopulationLatency(OperatorCounts(SPACE), small_table())
FRONT = Goal(None, 0.0)
SOME = SPACE.random_choices(np.random.default_rng(0))
ARCHITECTURE = SPACE.network_of(SOME)


def candidate(latency_ms: float, accuracy: float, stderr_ms: float = 0.0, trained: float | None = None) -> Candidate:
    return Candidate(
        goal="front",
        generation=0,
        alternative=SOME.alternative,
        latency_ms=latency_ms,
        stderr_ms=stderr_ms,
        accuracy=accuracy,
        trained=trained,
        choices=SOME,
        architecture=ARCHITECTURE,
    )


class TestFairPaths:
    def test_every_operator_and_width_comes_equally_often(self) -> None:
        paths, counts = FairPaths(SPACE, seed=3), SPACE.row_counts
        networks = [paths(number) for number in range(30)]  # a multiple of five operators, two widths and three alternatives
        for granularity in ("alpha", "gamma"):
            for row, choices in enumerate(counts[granularity]):
                found = Counter(network.rows(granularity)[row] for network in networks)
                assert found == dict.fromkeys(range(choices), 30 // choices)
        assert Counter(network.alternative for network in networks) == dict.fromkeys(SPACE.alternatives(), 10)
        assert len({network.alpha for network in networks}) > 20, "rows are shuffled apart from each other"

    def test_a_path_follows_from_its_number(self) -> None:
        """So that a resumed training goes on with the same networks."""
        forwards, anew = FairPaths(SPACE, seed=3), FairPaths(SPACE, seed=3)
        expected = [forwards(number) for number in range(20)]
        assert [anew(number) for number in (17, 2, 11)] == [expected[number] for number in (17, 2, 11)]
        assert FairPaths(SPACE, seed=4)(5) != expected[5]

    def test_random_networks_of_steps_take_each_width_equally_often(self) -> None:
        """The widest and the narrowest network of a step draw no widths."""
        update = prepared(evolving(pretrain__random_widths=1))._single_paths
        random = [network for step in range(10) for network in update.networks(step)[2:]]
        for row in range(len(SPACE.row_counts["gamma"])):
            assert Counter(network.gamma[row] for network in random) == {0: 5, 1: 5}

    def test_a_step_trains_the_widest_the_narrowest_and_random_networks_alone(self) -> None:
        learner = prepared(evolving(pretrain__random_widths=2))
        learner.start_phase("pretrain")
        networks = learner._single_paths.networks(0)
        assert [set(network.gamma) for network in networks[:2]] == [{1}, {0}]
        assert len(networks) == 4
        before = {name: weight.detach().clone() for name, weight in learner.supernet.named_parameters()}
        batch = Batch(torch.randn(2, 3, 64, 64), torch.randint(19, (2, 64, 64)))
        losses = learner.step([batch], RngKey(0), "here", step=0, steps=4)
        assert set(losses) == {"weights_student", "distillation"}
        changed = {name for name, weight in learner.supernet.named_parameters() if not torch.equal(weight, before[name])}
        assert not any("teacher" in name for name in changed)
        graph = SPACE.graph
        trained = {
            (index, network.alpha[graph.edges[index].operator_row or 0])
            for network in networks
            for index in SPACE.part_of(network).edges
        }
        in_cells = {tuple(map(int, name.split(".")[2:5:2])) for name in changed if name.startswith("cells.mixed")}
        assert in_cells == trained


class TestGoals:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=30))
    def test_the_front_is_what_nothing_dominates(self, points: list[tuple[int, int]]) -> None:
        candidates = [candidate(float(ms), accuracy / 10) for ms, accuracy in points]
        found = {(c.latency_ms, c.accuracy) for c in front(candidates)}

        def dominated(ms: int, accuracy: int) -> bool:
            return any(a <= ms and b >= accuracy and (a, b) != (ms, accuracy) for a, b in points)

        assert found == {(float(ms), accuracy / 10) for ms, accuracy in points if not dominated(ms, accuracy)}

    def test_a_target_counts_errors_and_ranks_by_accuracy(self) -> None:
        goal = Goal(5.0, sigmas=2.0)
        candidates = [candidate(4.9, 0.9, 0.1), candidate(4.7, 0.8, 0.1), candidate(3.0, 0.8), candidate(3.0, 0.5)]
        assert goal.name == "5 ms"
        assert goal.best(candidates, 2) == [candidates[2], candidates[1]], "of equals the faster"
        assert FRONT.best(candidates, 2) == [candidates[2], candidates[0]]
        assert len(FRONT.best(candidates, 9)) == 4
        assert [g.name for g in goals_of(SelectionSettings(latency_ms=(6.0, 7.5)))] == ["6 ms", "7.5 ms"]
        assert [g.name for g in goals_of(SelectionSettings())] == ["front"]

    def test_the_shortlist_is_ranked_by_its_trainings(self) -> None:
        config, goal = evolving(), Goal(5.0, 0.0)
        shortlist = [candidate(4, 0.6, trained=0.3), candidate(3, 0.5, trained=0.4)]
        everything = [*shortlist, candidate(2, 0.1)]
        assert choose(goal, everything, shortlist, config) == shortlist[1]
        untrained = [c.model_copy(update={"trained": None}) for c in shortlist]
        assert choose(goal, untrained, untrained, config) == untrained[0]
        assert choose(FRONT, everything, shortlist, config) == shortlist[1]

    def test_a_ranking_that_trainings_contradict_is_warned_of(self) -> None:
        contradicting = [candidate(1, 0.1 * place, trained=0.5 - 0.1 * place) for place in range(5)]
        correlation, warnings = self_check(contradicting, certain=True)
        assert correlation == pytest.approx(-1)
        assert "rank correlation of -1.00 with their short trainings; below 0.4" in warnings[0]
        agreeing = [candidate(1, 0.1 * place, trained=0.1 * place) for place in range(5)]
        assert self_check(agreeing, certain=True) == (pytest.approx(1), ())
        assert "too few" in self_check(agreeing[:3], certain=True)[1][0]
        assert "count as certain" in self_check(agreeing, certain=False)[1][0]
        assert rank_correlation([0.1] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]) is None

    def test_candidates_are_spread_over_a_ranking(self) -> None:
        ranked = [candidate(1, place / 10) for place in range(9)]
        assert [c.accuracy for c in spread_over(ranked, 3)] == [0.0, 0.4, 0.8]
        assert spread_over(ranked, 20) == ranked
        assert spread_over(ranked, 0) == []


class TestGenerations:
    def score(self, choices: RowChoices) -> float:
        """Known for every network: how many of its convolutions are double, and how wide it is."""
        settled = SPACE.settled(choices)
        return (sum(k == 3 for k in settled.alpha) + sum(settled.gamma)) / 20

    def test_they_find_better_networks_than_as_many_random_ones(self) -> None:
        chosen = SelectionSettings(population=20, generations=6, parents=6)
        goal, gains = Goal(6.5, 1.0), []
        for seed in range(3):
            evolution = Evolution(SPACE, chosen, seed, LATENCIES, self.score)
            evolution.first(goal, 0)
            for number in range(1, 7):
                assert len(evolution.generation(goal, 0, number)) == 20
            assert all(goal.admits(c.latency_ms, c.stderr_ms) for c in evolution.candidates)
            random = Evolution(SPACE, chosen.model_copy(update={"population": 140}), seed, LATENCIES, self.score)
            random.first(goal, 0)
            gains.append(goal.best(evolution.candidates, 1)[0].accuracy - goal.best(random.candidates, 1)[0].accuracy)
        assert min(gains) >= 0
        assert max(gains) > 0

    def test_a_target_that_random_networks_miss_is_reached_by_making_them_faster(self) -> None:
        rng = np.random.default_rng(0)
        drawn_ms = LATENCIES([SPACE.random_choices(rng) for _ in range(2000)])[0]
        goal = Goal(0.97 * float(drawn_ms.min()), 0.0)
        evolution = Evolution(SPACE, SelectionSettings(population=5), 0, LATENCIES, self.score)
        assert len(evolution.first(goal, 0)) > 0
        assert all(c.latency_ms <= (goal.target_ms or 0) for c in evolution.candidates)

    def test_a_suggested_network_is_enough_where_no_random_one_meets_the_target(self) -> None:
        chosen, goal = SelectionSettings(population=5), Goal(2.0, 0.0)

        def latencies(networks: Sequence[RowChoices]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return np.array([1.0 if network == SOME else 10.0 for network in networks]), np.zeros(len(networks))

        evolution = Evolution(SPACE, chosen, 1, latencies, self.score)
        assert [c.choices for c in evolution.first(goal, 0, [SOME])] == [SOME]
        with pytest.raises(InvalidSpecError, match="less than any network found takes"):
            Evolution(SPACE, chosen, 1, latencies, self.score).first(goal, 0)


def test_a_networks_worth_is_its_miou_with_statistics_of_its_own() -> None:
    """Whichever networks were evaluated before: as by the evaluation of a search, which resets all statistics."""
    config = evolving(evaluation__statistics_batches=2, pretrain__batch_size=2)
    learner, processes = prepared(config), Processes()
    data = SearchData.open(config, SPACE, processes)
    trained_on, selection = selection_split(len(data.train), config)
    crop = config.pretrain.crop
    batches = list(islice(data.training(trained_on, epoch=0, batch_size=2, crop=crop), 2))
    images = list(evaluation_batches(data.train, EvaluationTransform(1.0), indices=selection))
    networks = [SPACE.random_choices(np.random.default_rng(seed), alternative="8,32") for seed in range(3)]
    expected = [
        evaluate_supernet(
            learner.passes,
            Mixture.single(network, SPACE.row_counts),
            "student",
            statistics=batches,
            validation=images,
            classes=19,
            processes=processes,
        )
        for network in networks
    ]
    scorer = SupernetScorer(learner.passes, SPACE, "student", data, trained_on, selection)
    known = [next(m.mean_iou for label, m in found.items() if label in ((8, 32), "8,32")) for found in expected]
    assert [scorer(network) for network in (*networks, networks[0])] == pytest.approx([*known, known[0]])
    assert len({round(value or 0, 6) for value in known}) > 1
    scorer._images = [Batch(images, torch.full_like(labels, 255)) for images, labels in scorer._images]
    with pytest.raises(DatasetError, match="none of the 2 images of selection has a labelled pixel"):
        scorer(networks[0])
