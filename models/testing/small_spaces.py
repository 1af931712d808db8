"""What a search space must satisfy besides, if it is small enough to enumerate."""

from __future__ import annotations

import numpy as np
import pytest

from models.spaces.base import SearchSpace
from models.testing.decoding import SEEDS
from models.testing.graph_reference import (
    Probabilities,
    enumerated_ms,
    enumerated_networks,
    expected_ms,
    made_up_ms,
    random_probabilities,
)
from models.testing.spaces import SpaceSuite


class SmallSpaceSuite(SpaceSuite):
    """The suite for spaces small enough to enumerate every architecture."""

    def test_relaxed_latency_is_the_mean_over_all_architectures(self, space: SearchSpace) -> None:
        graph = space.latency_graph()
        for seed in SEEDS[:2]:
            given = random_probabilities(space.parameter_shapes(), np.random.default_rng(seed))
            assert expected_ms(graph, given, made_up_ms) == pytest.approx(enumerated_ms(graph, given, made_up_ms), rel=1e-12)

    def test_its_size_is_the_number_of_networks_that_a_listing_finds(self, space: SearchSpace) -> None:
        places = [space.alternative_outputs(alternative) for alternative in space.alternatives()]
        assert space.size() == enumerated_networks(space.latency_graph(), space.parameter_shapes(), places)

    def test_the_supernet_with_certain_choices_is_the_network(self, space: SearchSpace) -> None:
        """With the weights that the architecture uses there. Skips apart: in a supernet they are never the identity."""
        torch = pytest.importorskip("torch", reason="supernets are torch modules: pip install 'opclock[graphs]'")
        from models.networks.module import build_network
        from models.testing.supernets import certain, disturb, mixture_of

        torch.manual_seed(0)
        supernet = disturb(space.supernet()).eval()
        images = torch.randn(self.spec.batch, 3, *self.spec.input_size)
        skip = next((k for k, rows in enumerate(space.latency_graph().edges[0].operators) if rows[0][0].kind == "skip"), None)
        choices = certain(space.parameter_shapes(), np.random.default_rng(0), without=skip)
        rows = {name: [row for group in groups.values() for row in group.tolist()] for name, groups in choices.items()}
        for architecture in self.architectures(space, Probabilities(**rows)):
            network = build_network(space.plan(architecture)).eval()
            space.copy_weights(supernet, supernet.roles[0], architecture, network)
            label = space.alternative_of(architecture)
            with torch.no_grad():
                found = supernet(images, mixture_of(choices), role=supernet.roles[0], alternatives=[label]).combined[label]
                torch.testing.assert_close(found, network(images), rtol=1e-4, atol=1e-4)

    def test_a_supernet_computes_a_single_network_alone_as_it_does_in_a_mixture(self, space: SearchSpace) -> None:
        """The mixture in which all others have probability 0, and the way of evolution, which leaves them out."""
        torch = pytest.importorskip("torch", reason="supernets are torch modules: pip install 'opclock[graphs]'")
        from dataclasses import replace

        from models.supernets.base import Mixture
        from models.testing.supernets import disturb

        torch.manual_seed(0)
        supernet, rng = disturb(space.supernet()).eval(), np.random.default_rng(0)
        images = torch.randn(2, 3, *self.spec.input_size)
        for alternative in space.alternatives():
            single = Mixture.single(space.random_choices(rng, alternative=alternative), space.row_counts)
            mixture = replace(single, chosen=None)
            with torch.no_grad():
                found, expected = (
                    supernet(images, of, role=supernet.roles[0], alternatives=[alternative]).combined[alternative]
                    for of in (single, mixture)
                )
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        trained = supernet.train()(images, single, role=supernet.roles[0], alternatives=[alternative]).combined[alternative]
        trained.sum().backward()
        assert any(weight.grad is not None for weight in supernet.parameters())
