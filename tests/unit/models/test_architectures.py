"""The record of an architecture: bounds, keys, and documents of earlier releases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.spaces.registry import create_space, read_architecture, space_of
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.base import canonical_json
from models.spec.errors import InvalidSpecError
from models.spec.flat_architectures import FlatArchitecture

FLAT = {
    "space": "fasterseg",
    "input_size": [64, 128],
    "classes": 19,
    "base_channels": 12,
    "stem_width": 8,
    "head_width": 8,
    "branches": [{"operators": ["conv3x3", "skip"], "scales": [8, 16], "widths": [4]}],
    "batch": 1,
    "dtype": "float32",
}
KEY_OF_FLAT = "5292510440e28eae"


def parsed(genotype: Any) -> ArchitectureSpec:
    return ArchitectureSpec.parse({"space": "any", "input_size": (8, 8), "genotype": genotype})


@pytest.mark.parametrize(
    ("genotype", "said"),
    [
        ({"a": [[[[[[[[1]]]]]]]]}, r"a\.0\.0\.0\.0\.0\.0\.0: nested deeper than 8 levels"),
        ({"a": [0] * 9_000}, "a: more than 8192 items in all"),
        ({"a": {str(n): [0] * 100 for n in range(90)}}, r"a\.\d+: more than 8192 items in all"),
        ({"a": "x" * 65}, "a: a text of 65 characters; at most 64"),
        ({"x" * 65: 1}, "a text of 65 characters; at most 64"),
        ({"a": 2**60}, "a: a number beyond"),
        ({"a": None}, "a: None is no value"),
        ({"a": float("nan")}, "a: nan is no value"),
        ([1], "genotype: .*dictionary"),
    ],
)
def test_a_genotype_is_bounded_whatever_its_space(genotype: Any, said: str) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        parsed(genotype)


def test_equal_genotypes_are_equal_however_they_were_made() -> None:
    assert parsed({"a": [1, (2, "x")]}) == parsed({"a": (1, [2, "x"])})
    assert len({parsed({"a": [1]}), parsed({"a": (1,)})}) == 1


def test_equal_networks_have_equal_keys() -> None:
    left_out = {name: value for name, value in FLAT.items() if name not in ("base_channels", "stem_width", "head_width")}
    keys = {read_architecture(canonical_json(document)).key() for document in (FLAT, left_out, FLAT | {"head_width": None})}
    assert len(keys) == 1
    assert read_architecture(canonical_json(FLAT | {"head_width": 12})).key() not in keys


def test_a_document_of_before_is_known_by_its_key_of_then() -> None:
    network = read_architecture(canonical_json(FLAT))
    assert network.genotype == {"branches": ({"operators": ("conv3x3", "skip"), "scales": (8, 16), "widths": (4,)},)}
    assert network.parameters == {"base_channels": 12, "stem_width": 8, "head_width": 8}
    assert network.key() != KEY_OF_FLAT
    assert FlatArchitecture.parse(FLAT).key() == KEY_OF_FLAT
    assert network.known_as(KEY_OF_FLAT)
    assert network.known_as(network.key())
    assert not network.known_as("0" * 16)


def test_every_sampled_network_is_known_by_the_key_that_it_had() -> None:
    space = create_space(SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"base_channels": 6, "stem_width": 10}))
    for seed in range(5):
        network = space.sample(np.random.default_rng(seed))
        kept = network.model_dump(mode="json", include={"space", "input_size", "classes", "batch", "dtype"})
        flat = {**kept, **network.parameters, "branches": network.model_dump(mode="json")["genotype"]["branches"]}
        assert network.known_as(FlatArchitecture.parse(flat).key())
        assert ArchitectureSpec.parse(flat) == network


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": {"base_chanels": 12}}, "F: unknown parameter of a network of search space 'fasterseg' 'base_chanels'"),
        ({"parameters": {"stem_width": 0}}, r"F: parameters: NetworkParameters\.stem_width: "),
        ({"genotype": {"branches": []}}, r"F: genotype: FasterSegGenotype\.branches: "),
        ({"genotype": {"branches": [{"opertors": ["skip"]}]}}, r"branches\.0\.opertors: there is no such field"),
        ({"genotype": {"branches": [{"operators": ["skip"], "widths": [4]}]}}, "1 widths for 1 operators"),
        ({"genotype": {"cells": 3}}, r"FasterSegGenotype\.cells: there is no such field"),
    ],
)
def test_what_is_none_of_the_spaces_is_refused_by_field_and_value(change: dict[str, Any], said: str) -> None:
    document = ArchitectureSpec.parse(FLAT).model_dump(mode="json") | change
    with pytest.raises(InvalidSpecError, match=said):
        read_architecture(canonical_json(document), "F")
    with pytest.raises(InvalidSpecError, match=said.removeprefix("F: ")):
        space_of(ArchitectureSpec.parse(document))
