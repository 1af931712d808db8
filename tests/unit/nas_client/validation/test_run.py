"""A validation from sample to files, against a fake service whose networks take 7 % longer than their entries' sum."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.measurements import Budget, Measurement, ProtocolName
from models.spec.tables import Table
from models.spec.verdicts import TrustLevel
from models.spec.wire import JobPublic
from nas_client.errors import CalibrationError
from nas_client.estimates import estimate
from nas_client.service import ServiceClient
from nas_client.settings import ClientSettings
from nas_client.table import LookupTable
from nas_client.transport import Transport
from nas_client.validation.calibration import CalibrationFile
from nas_client.validation.report import Comparison, comparison_table, write_report
from nas_client.validation.run import ValidationRun, sample_networks, validate
from tests.support.fake_service import (
    JITTER,
    SCALE,
    SLOWER,
    SPACE,
    TARGET,
    FakeService,
    make_table,
    network_ms,
    noise,
    operator_ms,
    transport,
)

TABLE = LookupTable(make_table())
TOY = create_space(SPACE)


def isolated() -> LookupTable:
    """The other protocol's table: every entry off by up to 20 %."""
    table = make_table(protocol=ProtocolName.ISOLATED)
    entries = (
        entry.model_copy(update={"value_ms": (entry.value_ms or 0) * (0.7 + 0.2 * noise(entry.key()[::-1]))})
        for entry in table.entries
    )
    return LookupTable(Table(info=table.info, entries=tuple(entries)))


def run(
    service: FakeService, *tables: LookupTable, count: int = 40, seed: int = 0, named: Sequence[ArchitectureSpec] = ()
) -> tuple[ValidationRun, list[JobPublic]]:
    settings = ClientSettings.load(backoff_s=1e-3, backoff_max_s=1e-3)
    watched: list[JobPublic] = []
    with ServiceClient(Transport("http://box:1", settings, http=transport(service)), settings) as client:
        options = {"architectures": count, "budget": Budget.QUICK, "seed": seed, "watch": watched.append, "named": named}
        found = validate(client, tables or (TABLE,), **options)
    return found, watched


def test_samples_are_different_networks_and_the_same_for_a_seed() -> None:
    one, again, other = (sample_networks(TOY, 40, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one != other
    assert len({network.architecture.key() for network in one}) == 40
    assert all(network.operators == TOY.architecture_operators(network.architecture) for network in one)


def test_a_space_that_is_too_small_says_so() -> None:
    with pytest.raises(InvalidSpecError, match=r"hardly more than \d+ different networks; 5000 were asked for"):
        sample_networks(TOY, 5000, seed=0)


def test_every_network_is_measured_as_the_table_was() -> None:
    service = FakeService(TABLE.table)
    found, watched = run(service)
    (job,) = service.created.values()
    assert job.request.workloads == tuple(network.architecture for network in found.networks)
    assert (job.request.protocol, job.request.budget) == (ProtocolName.IN_CONTEXT, Budget.QUICK)
    assert job.table_id == TABLE.info.id()
    assert watched[-1] == job
    assert [measurement.value_ms for measurement in found.measurements] == [
        network_ms(network.architecture) for network in found.networks
    ]


def test_named_networks_are_measured_beside_the_sample_and_judged_by_its_fit() -> None:
    own, drawn = sample_networks(TOY, 1, seed=99)[0].architecture, sample_networks(TOY, 40, seed=0)[0].architecture
    service = FakeService(TABLE.table)
    (score,) = run(service, named=(own, drawn))[0].scores
    (plain,) = run(FakeService(TABLE.table))[0].scores
    assert score.calibration == plain.calibration  # no fit sees them
    (job,) = service.created.values()
    assert len(job.request.workloads) == 41  # one of them is in the sample, and measured once
    named = score.validation.named
    assert [network.architecture for network in named] == [own.key(), drawn.key()]
    for network, architecture in zip(named, (own, drawn), strict=True):
        expected = estimate(architecture, TABLE, score.calibration)
        assert network.measured_ms == network_ms(architecture)
        assert network.sum_ms == pytest.approx(expected.sum_ms)
        assert network.calibrated_ms == pytest.approx(expected.calibrated_ms)
        assert network.interval_ms == pytest.approx(expected.interval_ms)


def test_a_named_network_that_cannot_be_measured_is_refused() -> None:
    own = sample_networks(TOY, 1, seed=99)[0].architecture
    service = FakeService(TABLE.table)
    service.failing.add(own.key())
    with pytest.raises(CalibrationError, match="was not measured"):
        run(service, named=(own,))


def test_a_named_network_of_another_space_is_refused() -> None:
    own = sample_networks(TOY, 1, seed=99)[0].architecture
    with pytest.raises(TableMismatchError, match="classes"):
        run(FakeService(TABLE.table), named=(own.model_copy(update={"classes": 7}),))


def test_scores_see_the_scale_and_what_it_leaves() -> None:
    (score,) = run(FakeService(TABLE.table))[0].scores
    validation = score.validation
    assert validation.architectures == 40
    assert validation.raw.pearson > 0.999
    assert validation.raw.mape == pytest.approx(1 - 1 / SLOWER, abs=JITTER)
    assert validation.raw.bias_ms < 0, "the sums are too low"
    assert validation.calibrated.mape < JITTER
    assert validation.macs.mape > 3 * validation.calibrated.mape
    assert validation.repeatability == pytest.approx(0.02)


def test_sums_that_miss_by_7_percent_are_not_covered_until_the_others_correct_them() -> None:
    (score,) = run(FakeService(TABLE.table))[0].scores
    coverage, sums = score.validation.coverage, score.validation.sums
    assert coverage is not None
    assert sums is not None
    assert sums.bias == pytest.approx(SLOWER - 1, abs=JITTER / 2)
    assert coverage.statistical == 0
    assert coverage.validated > 0.9


def test_a_busy_machine_is_told_though_sums_agree() -> None:
    """Networks that do not repeat end in no verdict but the worst."""
    service = FakeService(TABLE.table)
    service.spread = 1.1
    validation = run(service)[0].scores[0].validation
    assert validation.raw.pearson > 0.999
    assert validation.verdict is not None
    assert validation.verdict.level is TrustLevel.UNUSABLE
    assert validation.verdict.lines()[1] == "  the rounds of the networks differ by 110.0% in the median (limit 50%)"


@pytest.mark.parametrize(
    ("plain", "level", "text"),
    [
        (1.02, TrustLevel.TRUSTWORTHY, ""),
        (1.05, TrustLevel.NOISY, "networks took longer than the table's milliseconds say: plain is 5.0% above scaled"),
        (1.5, TrustLevel.UNSETTLED, "networks took longer than the table's milliseconds say: plain is 50.0% above scaled"),
        (1.029, TrustLevel.TRUSTWORTHY, ""),
        (1.031, TrustLevel.NOISY, "networks took longer than the table's milliseconds say: plain is 3.1% above scaled"),
        (1.101, TrustLevel.UNSETTLED, "networks took longer than the table's milliseconds say: plain is 10.1% above scaled"),
        (0.95, TrustLevel.UNSETTLED, "networks ran in less time than the table's milliseconds say: scaled is 5.3% above plain"),
        (0.7, TrustLevel.UNUSABLE, "networks ran in less time than the table's milliseconds say: scaled is 42.9% above plain"),
    ],
)
def test_scaled_latencies_are_held_against_plain_ones(plain: float, level: TrustLevel, text: str) -> None:
    service = FakeService(TABLE.table)
    service.plain = plain
    validation = run(service)[0].scores[0].validation
    assert validation.plain is not None
    assert validation.verdict is not None
    assert validation.plain.scaled_over_plain == pytest.approx(1 / plain)
    assert validation.verdict.level is level
    assert [reason.text.split(";")[0] for reason in validation.verdict.reasons] == ([text] if text else [])


def test_networks_that_do_not_tell_plain_latencies_are_judged_without() -> None:
    service = FakeService(TABLE.table)
    measured = service._measure
    service._measure = lambda workload: measured(workload).model_copy(update={"plain_ms": None})  # type: ignore[method-assign]
    validation = run(service)[0].scores[0].validation
    assert validation.plain is None
    assert validation.verdict is not None
    assert validation.verdict.level is TrustLevel.TRUSTWORTHY


def test_a_scale_that_the_job_moved_is_the_one_of_sums_and_calibration() -> None:
    """The table is read again once the networks are measured, so that sums and networks are in the same milliseconds."""
    moved = SCALE.model_copy(update={"reference_ms": 2 * SCALE.reference_ms})
    entries = tuple(entry.model_copy(update={"value_ms": 2 * (entry.value_ms or 0)}) for entry in TABLE.table.entries)
    found, _ = run(FakeService(Table(info=TABLE.info.model_copy(update={"scale": moved}), entries=entries)))
    assert found.tables[0].info.scale == moved
    assert found.scores[0].sums[0].ms == pytest.approx(2 * sum(map(operator_ms, found.networks[0].operators)))


def test_repeatability_is_unknown_without_rounds() -> None:
    service = FakeService(TABLE.table)
    single = service._measure

    def in_one_round(workload: ArchitectureSpec) -> Measurement:
        return single(workload).model_copy(update={"rounds": 1, "between_round_spread": 0.0})

    service._measure = in_one_round  # type: ignore[method-assign, assignment]
    assert run(service)[0].scores[0].validation.repeatability is None


def test_networks_that_fail_are_left_out_with_their_reason() -> None:
    service = FakeService(TABLE.table)
    unlucky = sample_networks(TOY, 40, seed=0)[7]
    service.failing = {unlucky.architecture.key()}
    found, _ = run(service)
    assert [(left.network, left.reason) for left in found.left_out] == [(unlucky, "out_of_memory: it does not fit")]
    assert len(found.networks) == found.scores[0].validation.architectures == 39


def test_networks_that_the_table_cannot_estimate_are_not_measured() -> None:
    gone = next(entry for entry in TABLE.table.entries if entry.workload.label().startswith("zoomed"))
    less = Table(info=TABLE.info, entries=tuple(entry for entry in TABLE.table.entries if entry != gone))
    service = FakeService(less)
    found, _ = run(service, LookupTable(less), count=150)
    (job,) = service.created.values()
    assert job.request.workloads is not None
    assert len(job.request.workloads) == len(found.networks)
    assert len(found.networks) + len(found.left_out) == 150
    assert {left.reason for left in found.left_out} == {f"no value for {gone.workload.label()}: it was never measured"}
    assert all(gone.workload in left.network.operators for left in found.left_out)


def test_too_few_measured_networks_say_why() -> None:
    service = FakeService(TABLE.table)
    service.failing = {network.architecture.key() for network in sample_networks(TOY, 10, seed=0)[:3]}
    with pytest.raises(CalibrationError, match=r"7 networks are too few .* 8 are needed; .* because: out_of_memory: it does"):
        run(service, count=10)


def test_an_empty_table_is_noticed_before_anything_is_measured() -> None:
    empty = Table(info=TABLE.info)
    service = FakeService(empty)
    with pytest.raises(CalibrationError, match=r"0 networks are too few .* because: no value for conv_bn_relu"):
        run(service, LookupTable(empty))
    assert service.created == {}


def test_a_service_with_another_target_measures_nothing() -> None:
    service = FakeService(TABLE.table, target=TARGET.model_copy(update={"threads": 2}))
    with pytest.raises(TableMismatchError, match="threads: 1 here, 2 there"):
        run(service)
    assert service.created == {}


def test_tables_of_two_spaces_are_not_compared() -> None:
    other = LookupTable(make_table(space=SPACE.model_copy(update={"input_size": (32, 64)})))
    with pytest.raises(TableMismatchError, match="input_size"):
        run(FakeService(TABLE.table, other.table), TABLE, other)


def test_a_table_of_an_earlier_protocol_is_not_mixed_with_new_networks() -> None:
    old = LookupTable(Table(info=TABLE.info.model_copy(update={"protocol_version": 7}), entries=TABLE.table.entries))
    with pytest.raises(TableMismatchError, match="measured the networks for table"):
        run(FakeService(old.table), old)


def test_the_report_holds_every_number(tmp_path: Path) -> None:
    service = FakeService(TABLE.table)
    service.failing = {sample_networks(TOY, 40, seed=0)[7].architecture.key()}
    found, _ = run(service)
    write_report(found, tmp_path / "report")
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"run.json", "validation.json", "points.csv", "calibration.json", "correlation.png", "correlation.svg"}

    document = json.loads((tmp_path / "report" / "validation.json").read_text())
    measures = {"pearson", "pearson_ci95", "spearman", "kendall", "mape", "rmse_ms", "bias_ms", "worst_error", "slope"} | {
        *("intercept_ms", "within_5", "within_10")
    }
    assert set(document) == {"architectures", "raw", "calibrated", "macs", "repeatability", "named"} | {
        *("verdict", "table_id", "plain", "sums", "coverage")
    }
    assert document["table_id"] == TABLE.info.id()
    assert document["verdict"] == {"level": "trustworthy", "reasons": []}
    assert document["plain"]["raw"]["mape"] == document["raw"]["mape"], "plain and scaled are the same here"
    assert document["named"] == []
    assert all(set(document[name]) == measures for name in ("raw", "calibrated", "macs"))
    assert document["raw"]["pearson"] == found.scores[0].validation.raw.pearson

    with (tmp_path / "report" / "points.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    good = [row for row in rows if not row["left_out"]]
    assert len(good) == 39
    for row, network in zip(good, found.networks, strict=True):
        assert ArchitectureSpec.parse_json(row["architecture"]) == network.architecture
        assert float(row["measured_ms"]) == float(row["plain_ms"]) == network_ms(network.architecture)
        assert float(row["sum_low_ms"]) < float(row["sum_ms"]) < float(row["sum_high_ms"])
        assert float(row["sum_plain_ms"]) == pytest.approx(float(row["sum_ms"]))
        assert float(row["calibrated_low_ms"]) < float(row["calibrated_ms"]) < float(row["calibrated_high_ms"])
    errors = [abs(float(row["sum_ms"]) / float(row["measured_ms"]) - 1) for row in good]
    assert np.mean(errors) == pytest.approx(document["raw"]["mape"])
    assert [row["left_out"] for row in rows if row["left_out"]] == ["out_of_memory: it does not fit"]

    calibration = CalibrationFile.parse_json((tmp_path / "report" / "calibration.json").read_text())
    assert calibration.table_id == TABLE.info.id()
    assert (calibration.version, calibration.reference_ms) == (2, SCALE.reference_ms)
    assert calibration.calibration.networks == 39

    png = (tmp_path / "report" / "correlation.png").read_bytes()
    svg = (tmp_path / "report" / "correlation.svg").read_text()
    assert png.startswith(b"\x89PNG\r\n")
    assert svg.rstrip().endswith("</svg>")


def test_the_same_run_writes_the_same_files(tmp_path: Path) -> None:
    found, _ = run(FakeService(TABLE.table))
    for name in ("one", "other"):
        write_report(found, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


def test_two_tables_are_compared_on_the_same_networks(tmp_path: Path) -> None:
    other = isolated()
    service = FakeService(TABLE.table, other.table)
    found, _ = run(service, TABLE, other)
    good, bad = (score.validation for score in found.scores)
    assert len(service.created) == 1, "the networks are measured once"
    assert good.macs == bad.macs, "the baseline knows nothing of tables"
    assert bad.calibrated.mape > good.calibrated.mape
    write_report(found, tmp_path)
    assert {"comparison.md", "comparison.png", "comparison.svg"} <= {path.name for path in tmp_path.iterdir()}
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    assert len(lines) == 2 + 2 * 2 + 1
    assert f"{bad.raw.mape:.2%}" in lines[4]
    assert lines[4].startswith(f"| isolated ({other.info.id()[:8]}) | sum |")
    assert len({line.count("|") for line in lines}) == 1
    assert comparison_table({"one": found.scores[0]}).count("\n") == 5
    compared = Comparison.parse_json((tmp_path / "comparison.json").read_bytes()).tables
    assert [table.protocol for table in compared] == [ProtocolName.IN_CONTEXT, ProtocolName.ISOLATED]
    assert [table.table_id for table in compared] == [TABLE.info.id(), other.info.id()]
    assert [table.validation for table in compared] == [good, bad]
    alone, _ = run(FakeService(TABLE.table))
    write_report(alone, tmp_path)
    assert not list(tmp_path.glob("comparison.*")), "what an earlier run compared no longer holds"
