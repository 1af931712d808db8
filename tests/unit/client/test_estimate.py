"""Sums of entries, with and without calibration; the published student is checked to the last digit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.spaces.registry import create_space, published_readers
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.measurements import Flag, Measurement, ProtocolName
from models.spec.tables import Table, TableInfo
from nas_client.errors import CalibrationError
from nas_client.estimate import estimate, read_calibration
from nas_client.table import LookupTable
from nas_client.validation.calibration import Calibration, CalibrationFile, Features, fit
from tests.fake_service import SPACE, TARGET, make_table, network_ms, operator_ms
from tests.reference import reference_file

TABLE = LookupTable(make_table())
TOY = create_space(SPACE)
NETWORK = TOY.sample(np.random.default_rng(1))


def published_table() -> LookupTable:
    """FasterSeg's own table."""
    published = published_readers()["fasterseg"].read_published(reference_file("fasterseg/latency_lookup_table.npy"))
    entries = (Measurement(workload=operator, value_ms=ms, flags=(Flag.IMPORTED,)) for operator, ms in published.entries)
    info = TableInfo(target=TARGET, space=published.space, protocol=published.protocol)
    return LookupTable(Table(info=info, entries=tuple(entries)))


def test_the_published_student() -> None:
    student = ArchitectureSpec.parse_json(reference_file("fasterseg/student.json").read_bytes())
    found = estimate(student, published_table())
    assert found.sum_ms == pytest.approx(5.701835681642834, rel=1e-15)
    assert len(found.terms) == 28
    (missing,) = found.missing
    assert missing.operator.label() == "upsample 19→19 @128×256 /1"
    assert (found.calibrated_ms, found.interval_ms) == (None, None)


def test_a_sum_has_a_term_for_every_operator_repeats_included() -> None:
    found = estimate(NETWORK, TABLE)
    operators = TOY.architecture_operators(NETWORK)
    assert [term.operator for term in found.terms] == list(operators)
    assert found.sum_ms == pytest.approx(sum(map(operator_ms, operators)))
    assert found.missing == ()


def calibration() -> Calibration:
    rng = np.random.default_rng(2)
    networks = [TOY.sample(rng) for _ in range(30)]
    sums = [estimate(network, TABLE) for network in networks]
    features = Features.of([found.sum_ms for found in sums], [len(found.terms) for found in sums])
    return fit(features, [network_ms(network) for network in networks])


def test_a_calibrated_estimate_comes_nearer_and_says_how_near() -> None:
    found = estimate(NETWORK, TABLE, calibration())
    measured = network_ms(NETWORK)
    assert found.calibrated_ms is not None
    assert found.interval_ms is not None
    assert abs(found.calibrated_ms - measured) < abs(found.sum_ms - measured)
    low, high = found.interval_ms
    assert low < found.calibrated_ms < high
    assert low < measured < high
    assert high - low < 0.1 * measured


def test_a_sum_that_lacks_terms_is_not_calibrated() -> None:
    less = Table(info=TABLE.info, entries=TABLE.table.entries[1:])
    for network in (TOY.sample(np.random.default_rng(seed)) for seed in range(20)):
        found = estimate(network, LookupTable(less), calibration())
        if found.missing:
            assert (found.calibrated_ms, found.interval_ms) == (None, None)
            break
    else:
        pytest.fail("no sampled network needed the entry that was removed")


def test_an_architecture_of_another_size_is_refused() -> None:
    with pytest.raises(TableMismatchError, match="input_size"):
        estimate(NETWORK.model_copy(update={"input_size": (32, 64)}), TABLE)


def write(path: Path, table: LookupTable) -> Path:
    file = CalibrationFile(table_id=table.info.id(), table=table.label(), calibration=calibration())
    path.write_text(file.model_dump_json())
    return path


def test_a_calibration_is_read_back(tmp_path: Path) -> None:
    assert read_calibration(write(tmp_path / "calibration.json", TABLE), TABLE) == calibration()


def test_the_calibration_of_another_table_is_refused(tmp_path: Path) -> None:
    other = LookupTable(make_table(protocol=ProtocolName.ISOLATED))
    with pytest.raises(TableMismatchError, match=f"was fitted with table {other.info.id()}"):
        read_calibration(write(tmp_path / "calibration.json", other), TABLE)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "table_id": "x"}'])
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(InvalidSpecError, match=r"calibration\.json"):
        read_calibration(path, TABLE)


def test_a_calibration_far_from_its_networks_says_so() -> None:
    rng = np.random.default_rng(0)
    sums = rng.uniform(3, 9, 40)
    far = fit(Features.of(sums, np.full(40, 9)), 1.2 * sums - 2.8)
    with pytest.raises(CalibrationError, match="ms for a network"):
        estimate(NETWORK, TABLE, far)
