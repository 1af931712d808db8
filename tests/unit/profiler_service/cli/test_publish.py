"""`publish`: what is written, what is left out, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.measurements import Flag, Measurement, Status
from models.spec.operators import OperatorSpec
from models.spec.rebuilds import RebuildSpread, RebuiltEntry
from models.spec.scale import Scale
from models.spec.table_cards import TableCard
from models.spec.table_files import read_table, table_etag
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec
from profiler_service.storage.store import Store
from tests.support.full_disk import full_disk
from tests.unit.profiler_service.cli.conftest import Command

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(32, 64)))
TARGET = TargetSpec(device="Some CPU", backend="paper", versions={"paper": "1.0"}, threads=1)
NAME = "some-cpu/paper/fasterseg-32x64-fp32"
ELSEWHERE = OperatorSpec(kind="conv3x3", in_channels=7, out_channels=7, height=8, width=8)


def _table(**changes: Any) -> Table:
    """All operators but the last, one of them failed; and one that is none of the space's."""
    *measured, failed, _ = SPACE.operators()
    entries = [Measurement(workload=operator, value_ms=0.5, stderr_ms=0.01, cv=0.02) for operator in (*measured, ELSEWHERE)]
    entries[0] = entries[0].model_copy(update={"flags": (Flag.UNCONVERGED,), "stderr_ms": 0.1})
    entries.append(Measurement(workload=failed, status=Status.CRASHED, message="signal 11"))
    provenance = {"host": "secret.example", "system": "Linux-6.1-secret", "opclock": "0.1.0"}
    scale = Scale(reference_ms=0.3)
    info = TableInfo(target=TARGET, space=SPACE.spec, provenance=provenance, scale=scale).model_copy(update=changes)
    return Table(info=info, entries=tuple(entries))


@pytest.fixture
def table_id(tmp_path: Path) -> str:
    return _stored(_table(), tmp_path)


def _stored(table: Table, tmp_path: Path) -> str:
    with Store.open(tmp_path / "opclock.sqlite") as store:
        return store.import_table(table)


def _report(folder: Path, table_id: str) -> Path:
    folder.mkdir()
    (folder / "validation.json").write_text('{"architectures": 40, "raw": {"pearson": 0.999}}')
    (folder / "calibration.json").write_text(json.dumps({"table_id": table_id}))
    return folder


def test_a_table_and_its_card_are_written(command: Command, table_id: str, tmp_path: Path) -> None:
    report = _report(tmp_path / "report", table_id)
    ended = command("publish", "--allow-missing", "--table", table_id, "--validation", report, "--json")

    assert ended.code == 0
    assert ended.document["name"] == NAME
    assert ended.document["paths"] == [f"lut_data/{NAME}.parquet", f"lut_data/{NAME}.json"]
    table = read_table(tmp_path / "lut_data" / f"{NAME}.parquet")
    card = TableCard.parse_json((tmp_path / "lut_data" / f"{NAME}.json").read_bytes())
    assert (card.table_id, card.etag, card.device_kind) == (table_id, table_etag(table), "cpu")
    assert (card.entries, card.failed, card.missing) == (len(SPACE.operators()) - 1, 1, 1)
    assert card.validation == {"architectures": 40, "raw": {"pearson": 0.999}}
    assert card.quality.relative_stderr == 0.02
    assert card.quality.flags == {Flag.UNCONVERGED: 1}


def test_each_of_several_tables_gets_what_the_same_networks_said_of_it(command: Command, table_id: str, tmp_path: Path) -> None:
    report = _report(tmp_path / "report", "0123")
    rows = [{"table_id": name, "protocol": "isolated", "validation": {"of": name}} for name in ("0123", table_id)]
    (report / "comparison.json").write_text(json.dumps({"tables": rows}))
    assert command("publish", "--allow-missing", "--table", table_id, "--validation", report).code == 0
    card = TableCard.parse_json((tmp_path / "lut_data" / f"{NAME}.json").read_bytes())
    assert card.validation == {"of": table_id}


def test_what_is_no_comparison_is_refused(command: Command, table_id: str, tmp_path: Path) -> None:
    report = _report(tmp_path / "report", table_id)
    (report / "comparison.json").write_text('{"tables": [{"table_id": 3}]}')
    ended = command("publish", "--allow-missing", "--table", table_id, "--validation", report, "--json")
    assert ended.code == 3
    assert "comparison.json is not a comparison of tables" in ended.document["error"]["message"]


def test_the_card_tells_how_much_builds_differ(command: Command, tmp_path: Path) -> None:
    first = _table().entries[0]
    built = RebuiltEntry(key=first.key(), label=first.workload.label(), value_ms=0.5, between_ms=0.01, within_ms=0.005)
    spread = RebuildSpread(builds=3, rounds=4, entries=(built,), failures=(), measured_at=datetime(2026, 1, 1, tzinfo=UTC))
    with Store.open(tmp_path / "opclock.sqlite") as store:
        table_id = store.import_table(_table())
        store.add_rebuild_spread(table_id, spread)
    assert command("publish", "--allow-missing", "--table", table_id).code == 0
    card = TableCard.parse_json((tmp_path / "lut_data" / f"{NAME}.json").read_bytes())
    assert card.info.rebuild_spread == spread
    assert read_table(tmp_path / "lut_data" / f"{NAME}.parquet").info.rebuild_spread == spread


def test_neither_hosts_nor_other_operators_are_published(command: Command, table_id: str, tmp_path: Path) -> None:
    command("publish", "--allow-missing", "--table", table_id)
    table = read_table(tmp_path / "lut_data" / f"{NAME}.parquet")
    assert table.info.provenance == {"opclock": "0.1.0"}
    assert ELSEWHERE.key() not in table.by_key
    assert "secret" not in (tmp_path / "lut_data" / f"{NAME}.json").read_text()


def test_people_are_told_what_is_missing(command: Command, table_id: str) -> None:
    ended = command("publish", "--allow-missing", "--table", table_id)
    assert "incomplete: operators without a value: 1; operators of the space that are missing: 1" in ended.out
    assert "without a validation" in ended.out


def test_a_table_that_is_not_complete_is_published_only_when_told(command: Command, table_id: str, tmp_path: Path) -> None:
    ended = command("publish", "--table", table_id, "--json")
    assert ended.code == 3
    assert (
        "not complete: operators without a value: 1; operators of the space that are missing: 1"
        in ended.document["error"]["message"]
    )
    assert not (tmp_path / "lut_data").exists()
    whole = Table(info=_table().info, entries=tuple(Measurement(workload=one, value_ms=0.5) for one in SPACE.operators()))
    ended = command("publish", "--table", _stored(whole, tmp_path))
    assert ended.code == 0
    assert "incomplete" not in ended.out


def test_the_same_contents_keep_the_validation_that_is_published(command: Command, table_id: str, tmp_path: Path) -> None:
    report = _report(tmp_path / "report", table_id)
    command("publish", "--allow-missing", "--table", table_id, "--validation", report)
    ended = command("publish", "--allow-missing", "--table", table_id, "--json")
    card = TableCard.parse_json((tmp_path / "lut_data" / f"{NAME}.json").read_bytes())
    assert ended.document["card"]["validation"] == card.validation == {"architectures": 40, "raw": {"pearson": 0.999}}


def test_neither_values_nor_a_validation_that_are_published_are_lost_unless_told(command: Command, tmp_path: Path) -> None:
    def publish(number_left_out: int, *options: object) -> str:
        """What is said of a table of the same target, with other values and so many fewer of them."""
        folder = tmp_path / f"without {number_left_out}"
        folder.mkdir(exist_ok=True)
        fewer = _table().model_copy(update={"entries": _table().entries[number_left_out:]})
        ended = command(
            *("publish", "--allow-missing", "--table", _stored(fewer, folder), "--directory", tmp_path, "--json"),
            *("--database", folder / "opclock.sqlite", *options),
        )
        return str(ended.document["error"]["message"]) if ended.code else ""

    report = _report(tmp_path / "report", _table().info.id())
    values = len(SPACE.operators()) - 2
    assert publish(1, "--validation", report) == ""
    assert "with a validation; this one has other values and no validation" in publish(0)
    assert f"with {values - 1} values; this one has {values - 2}" in publish(2, "--validation", report)
    assert publish(2, "--replace") == ""
    assert TableCard.parse_json((tmp_path / f"{NAME}.json").read_bytes()).validation is None


def test_a_report_about_another_table_is_refused(command: Command, table_id: str, tmp_path: Path) -> None:
    report = _report(tmp_path / "report", "0123")
    ended = command("publish", "--allow-missing", "--table", table_id, "--validation", report, "--json")
    assert ended.code == 3
    assert "is about table 0123, not" in ended.document["error"]["message"]
    assert not (tmp_path / "lut_data").exists()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("{", "not a JSON document"), ("[]", "not a JSON object")]
)
def test_what_is_no_report_is_refused(
    command: Command, table_id: str, tmp_path: Path, content: str | None, message: str
) -> None:
    report = _report(tmp_path / "report", table_id)
    (report / "validation.json").unlink()
    if content is not None:
        (report / "validation.json").write_text(content)
    ended = command("publish", "--allow-missing", "--table", table_id, "--validation", report, "--json")
    assert ended.code == 3
    assert message in ended.document["error"]["message"]


def test_what_cannot_be_trusted_is_published_only_by_force(command: Command, tmp_path: Path) -> None:
    unsure = _stored(_table(scale=Scale(reference_ms=0.3, unsettled="only 3 quiet visits")), tmp_path)
    options = ("publish", "--allow-missing", "--table", unsure, "--json")
    refused = command(*options)
    assert refused.code == 3
    assert "the verdict on table" in refused.document["error"]["message"]
    assert "scale unsettled: only 3 quiet visits" in refused.document["error"]["message"]
    assert "--force" in refused.document["error"]["hint"]
    card = command(*options, "--force").document["card"]
    assert card["verdict"]["level"] == "unsettled"


def test_another_targets_table_is_replaced_only_when_told(command: Command, table_id: str, tmp_path: Path) -> None:
    newer = _stored(_table(target=TARGET.model_copy(update={"versions": {"paper": "2.0"}})), tmp_path)
    assert command("publish", "--allow-missing", "--table", table_id).code == 0
    assert command("publish", "--allow-missing", "--table", table_id).code == 0, "the same target's may be written again"

    refused = command("publish", "--allow-missing", "--table", newer, "--json")
    assert refused.code == 3
    assert "versions.paper: 1.0 here, 2.0 there" in refused.document["error"]["message"]
    assert command("publish", "--allow-missing", "--table", newer, "--replace").code == 0
    assert read_table(tmp_path / "lut_data" / f"{NAME}.parquet").info.target.versions == {"paper": "2.0"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": TARGET.model_copy(update={"options": {"origin": "imported"}})}, "was imported"),
        ({"space": SPACE.spec.model_copy(update={"classes": 7})}, "classes: 7 here, 19 there"),
    ],
)
def test_what_a_name_cannot_tell_is_refused(command: Command, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    ended = command("publish", "--allow-missing", "--table", _stored(_table(**changes), tmp_path), "--json")
    assert ended.code == 3
    assert message in ended.document["error"]["message"]


def test_a_table_without_values_is_refused(command: Command, tmp_path: Path) -> None:
    failed = Measurement(workload=SPACE.operators()[0], status=Status.CRASHED, message="signal 11")
    table_id = _stored(Table(info=_table().info, entries=(failed,)), tmp_path)
    ended = command("publish", "--allow-missing", "--table", table_id, "--json")
    assert ended.code == 3
    assert "no value for any operator" in ended.document["error"]["message"]


@pytest.mark.parametrize("file", [".json", ".parquet"])
def test_a_full_disk_changes_neither_the_published_table_nor_its_card(
    command: Command, table_id: str, tmp_path: Path, file: str
) -> None:
    report = _report(tmp_path / "report", table_id)
    command("publish", "--allow-missing", "--table", table_id, "--validation", report)
    paths = [tmp_path / "lut_data" / f"{NAME}.{suffix}" for suffix in ("json", "parquet")]
    before = [path.read_bytes() for path in paths]
    newer = _stored(_table(target=TARGET.model_copy(update={"versions": {"paper": "2.0"}})), tmp_path)
    with full_disk(file):
        assert command("publish", "--allow-missing", "--table", newer, "--replace").code != 0
    assert [path.read_bytes() for path in paths] == before


def test_a_card_that_cannot_be_read_is_replaced_only_when_told(command: Command, table_id: str, tmp_path: Path) -> None:
    command("publish", "--allow-missing", "--table", table_id)
    card = tmp_path / "lut_data" / f"{NAME}.json"
    card.write_text("")
    refused = command("publish", "--allow-missing", "--table", table_id, "--json")
    assert refused.code == 3
    assert "not a JSON document" in refused.document["error"]["message"]
    assert "--replace" in refused.document["error"]["hint"]
    ended = command("publish", "--allow-missing", "--table", table_id, "--replace")
    assert ended.code == 0
    assert "the published card cannot be read and is replaced" in ended.err
    assert TableCard.parse_json(card.read_bytes()).table_id == table_id
