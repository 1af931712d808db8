"""What commands say of tables and validations that cannot be trusted, and how `--require` ends them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode
from models.spec.scale import Scale
from models.spec.table_cards import TableCard, TableQuality
from models.spec.table_files import TableFormat, read_table, write_table
from models.spec.tables import Table
from tests.support.client_command import Command
from tests.support.fake_service import FakeService, make_table, serving

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters={"layers": 5}))
WHY = "only 3 of 40 visits were quiet"
UNSETTLED = Scale(reference_ms=0.25, stderr_ms=0.02, visits=40, quiet=3, unsettled=WHY)


def on(table: Table, scale: Scale) -> Table:
    return Table(info=table.info.model_copy(update={"scale": scale}), entries=table.entries)


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, tuple[object, ...]]:
    """Commands on a table whose scale is not settled."""
    rng = np.random.default_rng(0)
    shapes = SPACE.parameter_shapes()
    logits = {name: {group: rng.normal(size=shape).tolist() for group, shape in of.items()} for name, of in shapes.items()}
    (tmp_path / "logits.json").write_text(json.dumps(logits))
    (tmp_path / "network.json").write_text(SPACE.sample(rng).model_dump_json())
    write_table(on(make_table(SPACE.spec), UNSETTLED), tmp_path / "table.parquet", TableFormat.PARQUET)
    table = ("--table", tmp_path / "table.parquet")
    return {
        "estimate": ("estimate", *table, "--architecture", tmp_path / "network.json"),
        "loss": ("loss", *table, "--parameters", tmp_path / "logits.json"),
        "sensitivity": ("sensitivity", *table),
        "derive": ("derive", *table, "--parameters", tmp_path / "logits.json"),
    }


@pytest.mark.parametrize("name", ["estimate", "loss", "sensitivity", "derive"])
def test_an_unsettled_scale_is_said_once_wherever_numbers_come_from_it(
    nas_client: Command, commands: dict[str, tuple[object, ...]], name: str
) -> None:
    ended = nas_client(*commands[name], "--json")
    assert ended.code == ExitCode.DONE
    assert ended.document["verdict"]["level"] == "unsettled"
    assert ended.err.count(f"scale unsettled: {WHY}") == 1
    assert "verdict: unsettled" in ended.err
    assert WHY in nas_client(*commands[name]).err


@pytest.mark.parametrize("name", ["estimate", "loss", "sensitivity"])
@pytest.mark.parametrize(
    ("required", "code"), [("trustworthy", ExitCode.UNTRUSTED), ("noisy", ExitCode.UNTRUSTED), ("unsettled", ExitCode.DONE)]
)
def test_require_ends_with_6_after_the_result(
    nas_client: Command, commands: dict[str, tuple[object, ...]], name: str, required: str, code: ExitCode
) -> None:
    ended = nas_client(*commands[name], "--require", required, "--json")
    assert ended.code == code
    assert ended.document["verdict"]["level"] == "unsettled"
    assert ("--require asks for" in ended.err) == (code is ExitCode.UNTRUSTED)


def test_require_knows_three_levels(nas_client: Command, commands: dict[str, tuple[object, ...]]) -> None:
    assert nas_client(*commands["sensitivity"], "--require", "unusable").code == ExitCode.USAGE


def test_nothing_is_said_of_a_table_that_can_be_trusted(nas_client: Command, tmp_path: Path) -> None:
    write_table(make_table(SPACE.spec), tmp_path / "good.arrow", TableFormat.ARROW)
    ended = nas_client("sensitivity", "--table", tmp_path / "good.arrow", "--require", "trustworthy")
    assert ended.code == ExitCode.DONE
    assert "verdict" not in ended.err


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    monkeypatch.setenv("OPCLOCK_CLIENT_CACHE_DIR", str(tmp_path / "cache"))
    return FakeService(make_table())


@pytest.fixture
def url(service: FakeService) -> Iterator[str]:
    with serving(service) as address:
        yield address


def test_pull_says_it_and_writes_the_table(nas_client: Command, service: FakeService, url: str, tmp_path: Path) -> None:
    (table,) = service.tables.values()
    service.tables[table.info.id()] = on(table, UNSETTLED)
    path = tmp_path / "table.json"
    ended = nas_client("pull", "--url", url, "-o", path, "--require", "noisy", "--json")
    assert ended.code == ExitCode.UNTRUSTED
    assert ended.document["verdict"]["level"] == "unsettled"
    assert f"scale unsettled: {WHY}" in ended.err
    assert path.exists()


def validated(nas_client: Command, url: str, *more: object) -> tuple[object, ...]:
    ended = nas_client("validate", "--url", url, "--space", "toy_dag", *more)
    return ended.code, ended.out, ended.err


def test_validate_of_networks_that_do_not_repeat(nas_client: Command, service: FakeService, url: str) -> None:
    service.spread = 1.1
    code, out, err = validated(nas_client, url)
    assert code == ExitCode.DONE
    assert "verdict: unusable" in str(out)
    assert "the rounds of the networks differ by 110.0% in the median" in str(err)
    code, out, err = validated(nas_client, url, "--require", "unsettled", "--json")
    assert code == ExitCode.UNTRUSTED
    assert json.loads(str(out))["verdict"]["level"] == "unusable"


def test_validate_names_plain_errors_and_how_often_intervals_cover(nas_client: Command, service: FakeService, url: str) -> None:
    service.plain = 1.02
    code, out, err = validated(nas_client, url, "--require", "trustworthy")
    assert code == ExitCode.DONE
    assert "scaled is 0.9804 times plain" in str(out)
    assert "95 % intervals contain 0% of the networks by the sums' own uncertainty" in str(out)
    assert "verdict: trustworthy" in str(out)
    assert "verdict" not in str(err)


def test_estimate_takes_the_bias_of_a_validation(nas_client: Command, url: str, tmp_path: Path) -> None:
    report, table, network = tmp_path / "report", tmp_path / "table.parquet", tmp_path / "network.json"
    validated(nas_client, url, "-o", report)
    write_table(make_table(), table, TableFormat.PARQUET)
    network.write_text(create_space(make_table().info.space).sample(np.random.default_rng(9)).model_dump_json())
    arguments = ("estimate", "--table", table, "--architecture", network)
    plain, known = (nas_client(*arguments, *more, "--json").document for more in ((), ("--validation", report)))
    assert (plain["sum_interval_kind"], known["sum_interval_kind"]) == ("statistical", "validated")
    low, high = known["sum_interval_ms"]
    assert low < 1.07 * plain["sum_ms"] < high
    assert "not known without a validation" in nas_client(*arguments).out
    ended = nas_client(*arguments, "--validation", report)
    assert "by the table's validation" in ended.out
    assert "verdict" not in ended.err


def test_a_validation_that_cannot_be_trusted_is_said_where_its_bias_is_used(
    nas_client: Command, service: FakeService, url: str, tmp_path: Path
) -> None:
    service.spread = 1.1
    report, table, network = tmp_path / "report", tmp_path / "table.parquet", tmp_path / "network.json"
    validated(nas_client, url, "-o", report)
    write_table(make_table(), table, TableFormat.PARQUET)
    network.write_text(create_space(make_table().info.space).sample(np.random.default_rng(9)).model_dump_json())
    ended = nas_client("estimate", "--table", table, "--architecture", network, "--validation", report)
    assert ended.code == ExitCode.DONE
    assert "the validation of this table: verdict: unusable" in ended.err
    assert "the rounds of the networks differ by 110.0%" in ended.err


def test_the_card_of_a_published_table_brings_its_bias(
    nas_client: Command, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = nas_client("validate", "--url", url, "--space", "toy_dag", "--json")
    table, folder = make_table(), tmp_path / "published" / "paper-cpu" / "paper"
    folder.mkdir(parents=True)
    write_table(table, folder / "toy.parquet", TableFormat.PARQUET)
    quality = TableQuality(relative_stderr=0.01, between_round_spread=None, cv=None)
    card = TableCard(
        name="paper-cpu/paper/toy",
        label="toy",
        device_kind="cpu",
        table_id=table.info.id(),
        etag="e",
        info=table.info,
        entries=len(table.entries),
        failed=0,
        missing=0,
        quality=quality,
        validation=ended.document,
    )
    (folder / "toy.json").write_text(card.model_dump_json())
    monkeypatch.setenv("OPCLOCK_CLIENT_TABLES_DIR", str(tmp_path / "published"))
    network = tmp_path / "network.json"
    network.write_text(create_space(table.info.space).sample(np.random.default_rng(9)).model_dump_json())
    arguments = ("estimate", "--table", "paper-cpu/paper/toy", "--architecture", network, "--json")
    assert nas_client(*arguments).document["sum_interval_kind"] == "validated"
    (folder / "toy.json").write_text(card.model_copy(update={"validation": None}).model_dump_json())
    assert nas_client(*arguments).document["sum_interval_kind"] == "statistical"


def test_entries_of_too_few_samples_for_high_percentiles_are_no_obstacle(
    nas_client: Command, service: FakeService, url: str, tmp_path: Path
) -> None:
    table = make_table(SPACE.spec)
    entries = tuple(entry.model_copy(update={"p95_ms": None, "p99_ms": None, "samples": 40}) for entry in table.entries)
    service.tables = {table.info.id(): Table(info=table.info, entries=entries)}
    network = tmp_path / "network.json"
    network.write_text(SPACE.sample(np.random.default_rng(0)).model_dump_json())
    for table_format in TableFormat:
        path = tmp_path / f"table.{table_format.value}"
        assert nas_client("pull", "--url", url, "-o", path).code == ExitCode.DONE
        assert nas_client("estimate", "--table", path, "--architecture", network).code == ExitCode.DONE
        assert read_table(path).entries[0].p95_ms is None


def test_the_validation_of_another_table_is_refused(nas_client: Command, url: str, tmp_path: Path) -> None:
    report, table, network = tmp_path / "report", tmp_path / "table.parquet", tmp_path / "network.json"
    validated(nas_client, url, "-o", report)
    write_table(make_table(SPACE.spec), table, TableFormat.PARQUET)
    network.write_text(SPACE.sample(np.random.default_rng(9)).model_dump_json())
    arguments = ("estimate", "--table", table, "--architecture", network, "--validation", report)
    ended = nas_client(*arguments, "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert f"is of table {make_table().info.id()}" in ended.document["error"]["message"]
    old = json.loads((report / "validation.json").read_text())
    (report / "validation.json").write_text(json.dumps({**old, "table_id": read_table(table).info.id(), "sums": None}))
    assert "of an earlier release" in nas_client(*arguments, "--json").document["error"]["message"]
    kept = ("architectures", "raw", "calibrated", "macs", "repeatability", "named")
    (report / "validation.json").write_text(json.dumps({name: old[name] for name in kept}))
    assert "of an earlier release" in nas_client(*arguments, "--json").document["error"]["message"]
