"""The table in memory: what it has, what it lacks, what it must not be mixed with, and which one is meant."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import ExitCode, MissingEntryError, TableFileError, TableMismatchError, UnsafeTableError
from models.spec.measurements import Measurement, ProtocolName, Status
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableFormat, table_etag, to_bytes, write_table
from models.spec.tables import Table
from models.spec.wire import TablePublic
from nas_client.errors import TableChoiceError
from nas_client.table import LookupTable, choose_table, load_table
from tests.support.fake_service import SPACE, TARGET, make_table, operator_ms

TABLE = make_table()
ABSENT = OperatorSpec(kind="conv3x3", in_channels=7, out_channels=7, height=8, width=8)
FAILED = OperatorSpec(kind="conv3x3", in_channels=5, out_channels=5, height=8, width=8)
BROKEN = Measurement(workload=FAILED, status=Status.BUILD_TIMEOUT, message="120 s were not enough")


@pytest.fixture
def table() -> LookupTable:
    return LookupTable(Table(info=TABLE.info, entries=(*TABLE.entries, BROKEN)))


def operators() -> list[OperatorSpec]:
    return [entry.workload for entry in TABLE.entries if isinstance(entry.workload, OperatorSpec)]


def test_every_entry_is_found_under_its_operator(table: LookupTable) -> None:
    assert [table.lookup(operator) for operator in operators()] == [operator_ms(operator) for operator in operators()]


def test_a_missing_entry_names_the_operator_and_the_command(table: LookupTable) -> None:
    with pytest.raises(MissingEntryError, match=r"no value for conv3x3 7→7 @8×8 /1 .* never measured") as caught:
        table.lookup(ABSENT)
    assert ABSENT.key() in caught.value.message
    assert caught.value.hint == (
        "Measure what is missing: profiler-service profile --space toy_dag --input-size 64x128 --backend paper"
    )
    assert caught.value.exit_code is ExitCode.BAD_INPUT


def test_the_command_says_all_that_is_not_usual() -> None:
    parameters = {"layers": 5, "widths": (4,)}
    space = SpaceSpec(name="fasterseg", input_size=(32, 64), classes=11, dtype="float16", parameters=parameters)
    info = TABLE.info.model_copy(
        update={
            "space": create_space(space).spec,
            "protocol": ProtocolName.ISOLATED,
            "target": TARGET.model_copy(update={"threads": 2}),
        }
    )
    assert LookupTable(Table(info=info)).measuring_advice() == (
        "Measure what is missing: "
        "profiler-service profile --space fasterseg --input-size 32x64 --backend paper --threads 2 --protocol isolated "
        "--classes 11 --dtype float16 --parameter layers=5 --parameter widths=4,"
    )


def test_the_command_says_what_only_the_environment_can() -> None:
    settings = {"OPCLOCK_DEVICE": "cuda", "OPCLOCK_TF32": "true"}
    target = TARGET.model_copy(update={"backend": "torch", "settings": settings})
    advice = LookupTable(Table(info=TABLE.info.model_copy(update={"target": target}))).measuring_advice()
    assert advice == (
        "Measure what is missing: OPCLOCK_DEVICE=cuda OPCLOCK_TF32=true "
        "profiler-service profile --space toy_dag --input-size 64x128 --backend torch"
    )
    target = TARGET.model_copy(update={"threads": 2, "settings": {"OPCLOCK_THREADS": "2"}})
    advice = LookupTable(Table(info=TABLE.info.model_copy(update={"target": target}))).measuring_advice()
    assert "OPCLOCK_THREADS=2 profiler-service" in advice
    assert "--threads" not in advice, "it is said once"


def test_nothing_measures_for_an_imported_table() -> None:
    target = TARGET.model_copy(update={"backend": "TensorRT", "options": {"origin": "imported"}})
    with pytest.raises(MissingEntryError) as caught:
        LookupTable(Table(info=TABLE.info.model_copy(update={"target": target}))).lookup(ABSENT)
    assert caught.value.hint == (
        "The table was imported, and nothing here can measure for it. Measure a table of your own device instead: "
        "profiler-service profile --space toy_dag --input-size 64x128"
    )


def test_a_failed_entry_says_how_it_failed(table: LookupTable) -> None:
    with pytest.raises(MissingEntryError, match="measuring it ended with build_timeout: 120 s were not enough"):
        table.lookup(FAILED)


def test_collecting_lists_what_is_missing_and_goes_on(table: LookupTable) -> None:
    known = operators()[0]
    terms = table.collect([ABSENT, known, FAILED, known])
    assert [term.operator for term in terms] == [ABSENT, known, FAILED, known]
    assert [term.ms for term in terms] == [None, operator_ms(known), None, operator_ms(known)]
    assert [term.reason for term in terms] == [
        "it was never measured",
        "",
        "measuring it ended with build_timeout: 120 s were not enough",
        "",
    ]


def test_another_target_is_refused_with_the_fields(table: LookupTable) -> None:
    table.require_target(TARGET)
    other = TARGET.model_copy(update={"threads": 4, "versions": {"paper": "2.0"}})
    with pytest.raises(TableMismatchError, match=r"another target: threads: 1 here, 4 there; versions.paper: 1.0 here, 2.0"):
        table.require_target(other)


def test_another_space_is_refused_with_the_fields(table: LookupTable) -> None:
    table.require_space(SPACE)
    with pytest.raises(TableMismatchError, match=r"another search space: input_size: \[64, 128\] here, \[128, 256\] there"):
        table.require_space(SPACE.model_copy(update={"input_size": (128, 256)}))


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("space", "other", "name: toy_dag here, other there"),
        ("input_size", (128, 256), r"input_size: \[64, 128\] here, \[128, 256\] there"),
        ("classes", 11, "classes: 19 here, 11 there"),
        ("batch", 2, "batch: 1 here, 2 there"),
        ("dtype", "float16", "dtype: float32 here, float16 there"),
    ],
)
def test_an_architecture_of_another_space_is_refused(table: LookupTable, field: str, value: object, line: str) -> None:
    mine = ArchitectureSpec(space="toy_dag", input_size=(64, 128), genotype={"operators": ["skip"] * 6})
    table.require_architecture(mine)
    with pytest.raises(TableMismatchError, match=line):
        table.require_architecture(mine.model_copy(update={field: value}))


@pytest.mark.parametrize("file_format", TableFormat)
def test_a_table_is_read_from_any_format_under_any_name(tmp_path: Path, file_format: TableFormat) -> None:
    path = tmp_path / "table.dat"
    write_table(TABLE, path, file_format)
    assert load_table(str(path)).table == TABLE


class Malicious:
    """A pickle of this writes a file when it is read carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_is_refused_unread(tmp_path: Path, protocol: int) -> None:
    path, trap = tmp_path / "table.npy", tmp_path / "sprung"
    path.write_bytes(pickle.dumps({"latency": Malicious(trap)}, protocol))
    with pytest.raises(UnsafeTableError, match="pickle"):
        load_table(str(path))
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, b"{}", b"a,b\n1,2\n"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(content)
    with pytest.raises(TableFileError, match=r"table\.parquet"):
        load_table(str(path))


@pytest.mark.parametrize("file_format", TableFormat)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_table_is_refused(tmp_path: Path, file_format: TableFormat, share: float) -> None:
    content = to_bytes(TABLE, file_format)
    path = tmp_path / "table"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TableFileError):
        load_table(str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match=r"nowhere.csv cannot be read: No such file"):
        load_table(str(tmp_path / "nowhere.csv"))


def public(table: Table) -> TablePublic:
    return TablePublic(id=table.info.id(), info=table.info, entries=len(table.entries), failed=0, etag=table_etag(table))


ISOLATED = make_table(protocol=ProtocolName.ISOLATED)
ELSEWHERE = make_table(target=TARGET.model_copy(update={"device": "Other CPU"}))
LARGER = make_table(space=SPACE.model_copy(update={"input_size": (128, 256)}))
TABLES = [public(table) for table in (TABLE, ISOLATED, ELSEWHERE, LARGER)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"table_id": ISOLATED.info.id()}, ISOLATED),
        ({"input_size": (128, 256)}, LARGER),
        ({"protocol": ProtocolName.ISOLATED}, ISOLATED),
        ({"input_size": (64, 128), "protocol": ProtocolName.IN_CONTEXT, "target": TARGET}, TABLE),
        ({"target": ELSEWHERE.info.target}, ELSEWHERE),
    ],
)
def test_the_one_table_that_fits_is_chosen(wanted: dict[str, object], found: Table) -> None:
    assert choose_table(TABLES, **wanted).id == found.info.id()  # type: ignore[arg-type]


def test_the_only_table_needs_no_name() -> None:
    assert choose_table(TABLES[:1]) == TABLES[0]


def test_several_tables_are_listed() -> None:
    with pytest.raises(TableChoiceError, match="holds 3 tables of space toy_dag, input size 64×128: ") as caught:
        choose_table(TABLES, space="toy_dag", input_size=(64, 128))
    for table in TABLES[:3]:
        assert table.id in caught.value.message
    assert TABLES[3].id not in caught.value.message
    assert caught.value.hint == "Name one with --table ID; `nas-client tables` lists them all."


def test_tables_of_one_size_are_told_apart_by_a_parameter() -> None:
    spec = SpaceSpec(name="fasterseg", input_size=(64, 128))
    shallow, deep = (make_table(space=spec.model_copy(update={"parameters": {"layers": layers}})) for layers in (5, 6))
    tables = [public(table) for table in (shallow, deep)]
    assert choose_table(tables, parameters={"layers": 6, "branches": 2}).id == deep.info.id()
    with pytest.raises(TableChoiceError, match="no table of layers 7, widths 4,8") as caught:
        choose_table(tables, parameters={"layers": 7, "widths": (4, 8)})
    assert deep.info.id() in caught.value.hint


def test_of_several_the_only_complete_one_is_taken() -> None:
    """A sample of the operators, or a comparison of single ones, is not mistaken for the whole."""
    partial = [table.model_copy(update={"entries": 5}) for table in TABLES[1:]]
    assert choose_table([*partial, TABLES[0]]) == TABLES[0]
    assert choose_table(partial[:1]) == partial[0], "where there is no choice, the only one is taken"


def test_which_tables_are_partial_is_said() -> None:
    grid = len(TABLE.entries)
    partial = [table.model_copy(update={"entries": 5, "failed": 2}) for table in TABLES[:2]]
    with pytest.raises(TableChoiceError, match=f"5 of {grid} entries, partial, 2 failed"):
        choose_table(partial)
    with pytest.raises(TableChoiceError, match=f"5 of {grid} entries, partial") as caught:
        choose_table([*TABLES[:2], partial[0]])
    assert caught.value.message.count("partial") == 1


def test_no_table_that_fits_lists_those_there_are() -> None:
    with pytest.raises(TableChoiceError, match="holds no table of id 0123") as caught:
        choose_table(TABLES[:1], table_id="0123")
    assert TABLES[0].id in caught.value.hint


def test_a_service_without_tables_says_how_to_make_one() -> None:
    with pytest.raises(TableChoiceError, match=r"the service holds no table$") as caught:
        choose_table([])
    assert "nas-client profile" in caught.value.hint
