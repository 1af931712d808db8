"""What every operator kind must satisfy. Its own test class derives from `OperatorSuite` and names the kind."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import pytest

from models.spec.graphs import GraphRequest
from models.spec.kinds import AttributeValue, KindInfo, kind_info, kind_names
from models.spec.operator_labels import parse_label
from models.spec.operators import OperatorSpec

SIZES = ((1, 1), (2, 3), (5, 7), (16, 32))


def needed_attributes(kind: str, in_channels: int, size: tuple[int, int]) -> dict[str, AttributeValue]:
    """Attributes without which there is no operator of that kind: several sources of a concatenation, the size of a resize."""
    info = kind_info(kind)
    if "to_height" in info.attributes:
        return {"to_height": 2 * size[0] + 1, "to_width": max(1, size[1] // 2)}
    return {"sources": f"{in_channels - 1}+1"} if info.sources == "parts" else {}


class OperatorSuite:
    """The suite.

    Attributes:
        kind: under test.
        costs_factor: by which costs that the kind states may differ from those counted on its module, both ways.
        channels: (in, out) that its specs have, besides equal ones.
    """

    kind: str
    costs_factor: float = 1.25
    channels: tuple[tuple[int, int], ...] = ((12, 4), (12, 20))

    @pytest.fixture(scope="class")
    @classmethod
    def info(cls) -> KindInfo:
        """The kind as data."""
        return kind_info(cls.kind)

    def specs(self, sizes: tuple[tuple[int, int], ...] = SIZES) -> Iterator[OperatorSpec]:
        """The kind with every stride, every value of each attribute, and several channels and sizes."""
        info = kind_info(self.kind)
        settings: list[dict[str, AttributeValue]] = [{}]
        for name, attribute in info.attributes.items():
            choices = attribute.choices or (attribute.low,)
            settings += [
                {name: value} for value in choices if type(value) is type(attribute.default) and value != attribute.default
            ]
        pairs = ((12, 12), *self.channels)
        channels = sorted({(entering, info.allowed_channels(entering, leaving)) for entering, leaving in pairs})
        for height, width in sizes:
            for stride in info.strides:
                for in_channels, out_channels in channels:
                    for attributes in settings:
                        if any(not info.attributes[name].goes_with(stride) for name in attributes):
                            continue
                        yield OperatorSpec(
                            kind=self.kind,
                            in_channels=in_channels,
                            out_channels=out_channels,
                            height=height,
                            width=width,
                            stride=stride,
                            batch=2,
                            attributes={**attributes, **needed_attributes(self.kind, in_channels, (height, width))},
                        )

    def test_the_kind_is_known_by_its_name(self, info: KindInfo) -> None:
        assert info.name == self.kind
        assert self.kind in kind_names()

    def test_a_spec_is_read_from_its_label(self) -> None:
        for spec in self.specs():
            assert parse_label(spec.label()) == spec

    def test_the_module_has_the_shapes_that_the_spec_states(self) -> None:
        torch = pytest.importorskip("torch", reason="operators are torch modules: pip install 'opclock[graphs]'")
        from models.operators.layers import build_operator

        for spec in self.specs():
            with torch.device("meta"):
                output = build_operator(spec).eval()(*(torch.empty(shape) for shape in spec.source_shapes))
            assert tuple(output.shape) == spec.output_shape, spec.label()

    def test_weights_can_be_given_and_costs_counted(self) -> None:
        """Nothing is larger than the bounds by which a workload is refused before it is built."""
        pytest.importorskip("torch", reason="operators are torch modules: pip install 'opclock[graphs]'")
        from models.operators.costs import operator_costs, operator_size
        from models.operators.layers import build_operator
        from models.operators.seeded_weights import fill

        for spec in self.specs():
            fill(build_operator(spec), spec.key())
            costs, size, bounds = operator_costs(spec), operator_size(spec), spec.bounds
            told = f"{spec.label()} takes more than its kind says it can: state KindInfo.bounds"
            assert costs.macs <= bounds.macs, told
            assert size.weights <= bounds.weights, told
            assert size.inner <= max(bounds.inner, prod(spec.input_shape), prod(spec.output_shape)), told
            unchanged = kind_info(self.kind).identity_if_unchanged and spec.input_shape == spec.output_shape
            assert (costs.parameters > 0) == (kind_info(self.kind).has_weights and not unchanged), spec.label()

    def test_costs_that_the_kind_states_are_near_those_counted(self, info: KindInfo) -> None:
        """Where torch counts them at all: products within `costs_factor`, and exactly as many weights as the module has."""
        pytest.importorskip("torch", reason="operators are torch modules: pip install 'opclock[graphs]'")
        from models.operators.costs import UncountedCostsError, counted_costs, operator_costs
        from models.operators.layers import build_operator

        if not info.costs:
            pytest.skip(f"{self.kind} states no costs: they are counted")
        for spec in self.specs(sizes=((6, 10),)):
            stated = operator_costs(spec)
            assert stated.parameters == sum(weights.numel() for weights in build_operator(spec).parameters()), spec.label()
            try:
                counted = counted_costs(spec)
            except (NotImplementedError, RuntimeError, UncountedCostsError):
                continue
            for name in ("macs", "convolution_macs"):
                mine, theirs = getattr(stated, name), getattr(counted, name)
                told = f"{spec.label()}: {name} {mine} stated, {theirs} counted"
                assert theirs <= self.costs_factor * mine <= self.costs_factor**2 * theirs, told

    def test_the_exported_graph_computes_what_the_module_computes(self) -> None:
        torch = pytest.importorskip("torch", reason="operators are torch modules: pip install 'opclock[graphs]'")
        reference = pytest.importorskip("onnx.reference", reason="graphs are ONNX: pip install 'opclock[graphs]'")
        from models.export.either_way import graph_of
        from models.networks.module import build_module
        from models.operators.seeded_weights import random_input

        for spec in self.specs(sizes=((6, 10),)):
            request = GraphRequest(subject=spec)
            module = build_module(request)
            given = random_input(request.input_shape, spec.key())
            with torch.inference_mode():
                expected = module(torch.from_numpy(given)).numpy()
            graph, _ = graph_of(module, request.input_shape, dtype="float32", name="operator")
            (found,) = reference.ReferenceEvaluator(graph).run(None, {"input": given})
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4, err_msg=spec.label())

    def test_its_choice_of_an_edge_gives_a_network_its_weights(self, info: KindInfo) -> None:
        """On an edge of one width: the fixed operator then computes what the supernet does."""
        torch = pytest.importorskip("torch", reason="supernets are torch modules: pip install 'opclock[graphs]'")
        from models.operators.layers import build_operator
        from models.supernets.mixed_operators import choice_of_edge
        from models.testing.supernets import disturb

        if info.ends_network or not info.has_weights:
            pytest.skip(f"{self.kind} is no choice of a searched edge")
        for spec in self.specs(sizes=((6, 10),)):
            if info.identity_if_unchanged and spec.input_shape == spec.output_shape:
                continue  # in a supernet it is never the identity
            choice: Any = disturb(choice_of_edge(spec, {spec.in_channels}, {spec.out_channels})).eval()
            fixed = build_operator(spec).eval()
            choice.copy_to(fixed)
            images = torch.randn(spec.input_shape)
            with torch.inference_mode():
                torch.testing.assert_close(choice(images, spec.out_channels), fixed(images), rtol=1e-4, atol=1e-4)
