"""FasterSeg's published table: the file itself where it is at hand, and files in its format that are wrong."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.published import PublishedTable
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import TableFileError
from models.spec.measurements import ProtocolName
from tests.support.reference import reference_file

STEM = "ConvNorm_H64_W128_Cin3_Cout32_kernel3_stride2"
HEAD = "head_H8_W16_Cin64_Cout19"
SKIP = "FactorizedReduce_H8_W16_Cin32_Cout64_stride1"
WHOLE = {STEM: 0.1, HEAD: 0.2, SKIP: 0.3}


@pytest.fixture(scope="module")
def published() -> PublishedTable:
    return FasterSegSpace.read_published(reference_file("fasterseg/latency_lookup_table.npy"))


def read(tmp_path: Path, rows: dict[str, float]) -> PublishedTable:
    path = tmp_path / "latency_lookup_table.npy"
    np.save(path, np.array(rows, dtype=object), allow_pickle=True)
    return FasterSegSpace.read_published(path)


def test_the_published_table_has_667_rows(published: PublishedTable) -> None:
    assert len(published.entries) == len({operator.key() for operator, _ in published.entries}) == 667
    assert published.space.input_size == (1024, 2048)
    assert published.space == create_space(published.space).spec
    assert published.protocol is ProtocolName.ISOLATED
    assert "nearest" in published.provenance["resize"]


def test_the_published_values_are_taken_over_bit_by_bit(published: PublishedTable) -> None:
    """Against an ordinary unpickler; the file is known to be harmless."""
    plain = np.load(reference_file("fasterseg/latency_lookup_table.npy"), allow_pickle=True).item()
    assert [ms for _, ms in published.entries] == list(plain.values())


def test_it_has_our_grid_but_for_the_upsampling_and_two_stem_rows_more(published: PublishedTable) -> None:
    theirs = {operator.key(): operator.label() for operator, _ in published.entries}
    ours = {operator.key(): operator.label() for operator in create_space(published.space).operators()}
    assert [ours[key] for key in ours.keys() - theirs.keys()] == ["upsample 19→19 @128×256 /1"]
    assert sorted(theirs[key] for key in theirs.keys() - ours.keys()) == [
        "conv_bn_relu 32→64 @512×1024 /2",
        "conv_bn_relu 48→96 @512×1024 /2",
    ]


def test_its_skips_of_equal_widths_are_no_identities(published: PublishedTable) -> None:
    """As the provenance says: they cost what the 1×1 convolutions to other widths cost, which depends on the input alone."""
    skips = {(o.height, o.in_channels, o.out_channels): ms for o, ms in published.entries if o.kind == "skip" and o.stride == 1}
    for height, channels in {(height, a) for height, a, b in skips if a == b}:
        others = [ms for (h, a, b), ms in skips.items() if (h, a) == (height, channels) and a != b]
        assert skips[height, channels, channels] == pytest.approx(np.mean(others), rel=0.1)


def test_the_published_students_terms_sum_as_published(published: PublishedTable) -> None:
    """Exactly: in the network's order, and by `math.fsum`, which no order changes; numpy's pairwise sum is 1 ulp off."""
    values = {operator.key(): ms for operator, ms in published.entries}
    student = ArchitectureSpec.parse_json(reference_file("fasterseg/student.json").read_text())
    operators = create_space(published.space).architecture_operators(student)
    assert [operator.kind for operator in operators if operator.key() not in values] == ["upsample"]
    terms = [values[operator.key()] for operator in operators if operator.key() in values]
    assert len(terms) == 27
    total = 0.0
    for term in terms:
        total += term
    assert total == math.fsum(terms) == 5.701835681642834


def test_input_size_and_classes_come_from_the_rows(tmp_path: Path) -> None:
    table = read(tmp_path, WHOLE)
    assert (table.space.input_size, table.space.classes) == ((64, 128), 19)
    assert [(operator.label(), ms) for operator, ms in table.entries] == [
        ("conv_bn_relu 3→32 @64×128 /2", 0.1),
        ("segmentation_head 64→19 @8×16 /1", 0.2),
        ("skip 32→64 @8×16 /1", 0.3),
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"Pooling_H8_W16_Cin32_Cout64_stride1": 1.0}, "'Pooling_H8_.*' is not an operator"),
        ({"nonsense": 1.0}, "'nonsense' is not an operator"),
        ({"": 1.0}, "'' is not an operator"),
        ({SKIP + "_": 1.0}, "is not an operator"),
        ({"FactorizedReduce_H8_W16_Cin32_stride1": 1.0}, "fields H, W, Cin, Cout, stride"),
        ({"FactorizedReduce_W16_H8_Cin32_Cout64_stride1": 1.0}, "fields H, W, Cin, Cout, stride"),
        ({"BasicResidual1x_H8_W16_Cin32_Cout64_stride1_dilation2": 1.0}, "'conv3x3' has no dilation"),
        ({"FactorizedReduce_H8_W16_Cin32_Cout64_stride3": 1.0}, "stride 3 is not one of 1, 2"),
        ({"FactorizedReduce_H8_W16_Cin0_Cout64_stride1": 1.0}, "in_channels: .*greater.*0"),
        ({"FactorizedReduce_H8_W99999_Cin32_Cout64_stride1": 1.0}, "width: .*16384.*99999"),
        ({"ff_H8_W16_C64": 1.0, "ff_H8_W16_C064": 2.0}, "'ff_H8_W16_C064' names an operator that an earlier row has"),
        ({"ff_H8_W16_C64": -1.0}, "'ff_H8_W16_C64' takes -1.0 ms"),
        ({STEM.replace("H64", "H32"): 1.0}, "has 2 input sizes"),
        ({HEAD.replace("Cout19", "Cout11"): 1.0}, "has 2 numbers of classes"),
    ],
)
def test_rows_that_the_format_does_not_have(tmp_path: Path, rows: dict[str, float], said: str) -> None:
    with pytest.raises(TableFileError, match=said) as caught:
        read(tmp_path, WHOLE | rows)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("absent", [STEM, HEAD])
def test_a_table_that_does_not_tell_its_input_size_or_classes(tmp_path: Path, absent: str) -> None:
    with pytest.raises(TableFileError, match=r"has 0 .*; it must have one"):
        read(tmp_path, {name: ms for name, ms in WHOLE.items() if name != absent})


def test_a_table_at_a_size_that_no_space_has(tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match="height 44 is not divisible by 8"):
        read(tmp_path, {STEM.replace("H64", "H44"): 1.0, HEAD: 1.0})


def test_a_bare_pickle_of_the_rows_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "table.pickle"
    path.write_bytes(pickle.dumps(WHOLE))
    assert len(FasterSegSpace.read_published(path).entries) == 3
