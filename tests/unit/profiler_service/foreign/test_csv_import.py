"""Rows of a CSV file and the operators of a space."""

from __future__ import annotations

from collections import defaultdict

import pytest

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import TableFileError
from models.spec.operators import OperatorSpec
from profiler_service.foreign.csv_file import read_csv
from profiler_service.foreign.csv_import import ImportReport, match_rows
from tests.support.toy_space import ToySpace
from tests.unit.profiler_service.foreign.conftest import Written

TOY = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(32, 64)))
COLUMNS = "kind,in_channels,out_channels,size,stride,ms\n"


def row_of(operator: OperatorSpec, ms: float) -> str:
    shape = f"{operator.in_channels},{operator.out_channels},{operator.height}x{operator.width}"
    return f"{operator.kind},{shape},{operator.stride},{ms}\n"


def imported(written: Written, text: str, space: SearchSpace = TOY) -> tuple[dict[str, float], ImportReport]:
    source = written(text)
    published, report = match_rows(source, read_csv(source), space)
    return {operator.label(): ms for operator, ms in published.entries}, report


def test_a_whole_grid_by_kind_and_shape(written: Written) -> None:
    """Of a space with hundreds of operators, every one is found again from kind, channels, size and stride."""
    space = create_space(SpaceSpec(name="fasterseg", input_size=(128, 256)))
    present, earlier = space.operators(), space.without_joins().operators()
    rows = "".join(row_of(operator, 1 + number) for number, operator in enumerate(earlier))
    values, report = imported(written, COLUMNS + rows, space)
    assert values == {operator.label(): 1.0 + number for number, operator in enumerate(earlier)}
    assert (report.matched, report.grid, report.unmatched, report.absent) == (666, 666, (), ())

    rows = "".join(f"{operator.label()},{1 + number}\n" for number, operator in enumerate(present))
    values, report = imported(written, "label,ms\n" + rows, space)
    assert values == {operator.label(): 1.0 + number for number, operator in enumerate(present)}
    assert (report.matched, report.grid, report.unmatched, report.absent) == (692, 692, (), ())


def test_a_file_without_joins_becomes_a_table_of_the_grid_without_them(written: Written) -> None:
    """Otherwise no network could be summed from it. With one join among its rows it is a table of the present grid."""
    space = create_space(SpaceSpec(name="fasterseg", input_size=(128, 256)))
    join = space.operators()[-1]
    for rows, version in ((space.operators()[:5], 1), ([*space.operators()[:5], join], 2)):
        source = written("label,ms\n" + "".join(f"{o.label()},{n}\n" for n, o in enumerate(rows, 1)))
        published, _ = match_rows(source, read_csv(source), space)
        assert published.space.version == version


@pytest.mark.parametrize("spelt", [lambda text: text, lambda text: text.upper().replace("→", "->").replace("×", "x")])
def test_labels(written: Written, spelt: type[str]) -> None:
    rows = "".join(f"{spelt(operator.label())},{1 + number}\n" for number, operator in enumerate(TOY.operators()))
    values, report = imported(written, "Label,ms\n" + rows)
    assert list(values) == [operator.label() for operator in TOY.operators()]
    assert report.absent == ()


def test_keys(written: Written) -> None:
    operator = TOY.operators()[1]
    values, _ = imported(written, f"key,ms\n{operator.key()},0.5\n")
    assert values == {operator.label(): 0.5}


def test_what_matches_nothing_is_said_row_by_row(written: Written) -> None:
    first = TOY.operators()[1]
    stranger = f"{first.kind},{first.in_channels},99,{first.height}x{first.width},1,2\n"
    text = COLUMNS + row_of(first, 1) + stranger + "mystery,1,1,1x1,1,3\n" + row_of(first, 4).replace(",1,4", ",2,4")
    values, report = imported(written, text)
    assert values == {first.label(): 1.0}
    assert [(one.row, one.ms) for one in report.unmatched] == [(3, 2.0), (4, 3.0), (5, 4.0)]
    shape, kind, stride = (one.reason for one in report.unmatched)
    assert "→99" in shape
    assert "'mystery'" in kind
    assert stride == f"the space has {first.label()}, but that does not have stride 2"
    assert {one.key for one in report.absent} == {o.key() for o in TOY.operators()} - {first.key()}


def test_nothing_is_imported_where_no_row_matches(written: Written) -> None:
    with pytest.raises(TableFileError, match=r"row 2: no row is an operator of toy_dag 32×64") as raised:
        imported(written, COLUMNS + "mystery,1,1,1x1,1,3\n")
    assert "--input-size" in raised.value.hint


def test_a_row_that_fits_several_operators(written: Written) -> None:
    """Without a column of strides, some rows of a larger space mean two operators."""
    space = create_space(SpaceSpec(name="fasterseg", input_size=(128, 256)))
    alike: dict[tuple[object, ...], list[OperatorSpec]] = defaultdict(list)
    for operator in space.operators():
        alike[operator.kind, operator.in_channels, operator.out_channels, operator.height].append(operator)
    several = next(operators for operators in alike.values() if len(operators) > 1)
    without = row_of(several[0], 1).replace(f",{several[0].stride},1\n", ",1\n")
    with pytest.raises(TableFileError, match="row 2: it fits 2 operators") as raised:
        imported(written, COLUMNS.replace("stride,", "") + without, space)
    assert "stride" in raised.value.hint


def test_a_column_that_one_operator_needs_may_be_empty_for_others(written: Written) -> None:
    skip, convolution = TOY.operators()[1], TOY.operators()[0]
    header = COLUMNS.replace("stride", "stride,kernel_size,precision")
    stem = row_of(convolution, 1)
    text = f"{stem.rsplit(',', 1)[0]},3,fp32,1\n{row_of(skip, 2).rsplit(',', 1)[0]},,,2\n"
    values, report = imported(written, header + text)
    assert len(values) == 2
    assert report.unmatched == ()
    _, report = imported(written, header + text + f"{row_of(skip, 2).rsplit(',', 1)[0]},3,fp16,3\n")
    assert "kernel 3, dtype fp16" in report.unmatched[0].reason


def test_a_row_twice(written: Written) -> None:
    one, other = TOY.operators()[1:3]
    values, report = imported(written, COLUMNS + row_of(one, 1) + row_of(other, 2) + row_of(one, 1))
    assert len(values) == 2
    assert [(repeat.row, repeat.first_row, repeat.key) for repeat in report.repeats] == [(4, 2, one.label())]
    with pytest.raises(TableFileError, match=r"row 4, column 'ms': .* takes 3 ms here and 1 ms in row 2"):
        imported(written, COLUMNS + row_of(one, 1) + row_of(other, 2) + row_of(one, 3))


def test_a_row_twice_that_is_no_operator(written: Written) -> None:
    text = COLUMNS + row_of(TOY.operators()[1], 1) + "mystery,1,1,1x1,1,3\nMystery,1,1,1x1,1,4\n"
    with pytest.raises(TableFileError, match=r"row 4, column 'ms': .* takes 4 ms here and 3 ms in row 3"):
        imported(written, text)


def test_a_constant_table(written: Written) -> None:
    rows = "".join(row_of(operator, 0.5) for operator in TOY.operators())
    with pytest.raises(TableFileError, match=rf"rows 2 to {1 + len(TOY.operators())}, column 'ms': all .* values are 0\.5"):
        imported(written, COLUMNS + rows)
    assert len(imported(written, COLUMNS + row_of(TOY.operators()[1], 0.5))[0]) == 1
