"""Sums of entries, with and without calibration; the published student is checked to the last digit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.spaces.registry import create_space, published_readers
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.measurements import Flag, Measurement, ProtocolName
from models.spec.scale import Scale
from models.spec.tables import OLD_SCALE, Table, TableInfo
from nas_client.errors import CalibrationError
from nas_client.estimates import estimate, read_calibration
from nas_client.table import LookupTable
from nas_client.validation.calibration import Calibration, CalibrationFile, Features
from nas_client.validation.fitting import fit
from tests.support.fake_service import SCALE, SPACE, TARGET, make_table, network_ms, operator_ms
from tests.support.reference import reference_file

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
    file = CalibrationFile.of(table.info.id(), table.label(), table.info.scale, calibration())
    path.write_text(file.model_dump_json())
    return path


def test_a_calibration_is_read_back(tmp_path: Path) -> None:
    assert read_calibration(write(tmp_path / "calibration.json", TABLE), TABLE) == calibration()


def scaled(scale: Scale | None) -> LookupTable:
    """The table on another scale, its values unchanged."""
    return LookupTable(Table(info=TABLE.info.model_copy(update={"scale": scale}), entries=TABLE.table.entries))


def longer(ratio: float, **changes: float) -> Scale:
    return SCALE.model_copy(update={"reference_ms": SCALE.reference_ms * ratio, **changes})


def test_a_calibration_fitted_on_another_scale_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "calibration.json", TABLE)
    with pytest.raises(TableMismatchError, match=r"of 0\.25 ms, the table's is 0\.35 ms: \+40\.0%, where 2\.7% is") as refused:
        read_calibration(path, scaled(longer(1.4)))
    assert "nas-client validate" in refused.value.hint


def test_an_uncertain_scale_allows_for_more(tmp_path: Path) -> None:
    path = write(tmp_path / "calibration.json", TABLE)
    with pytest.raises(TableMismatchError, match="scale"):
        read_calibration(path, scaled(longer(0.96)))
    read_calibration(path, scaled(longer(0.96, stderr_ms=0.01)))


def test_a_small_step_of_the_scale_changes_milliseconds_and_nothing_else(tmp_path: Path) -> None:
    """All times in the new milliseconds: the calibrated latency and its interval move with them."""
    rng = np.random.default_rng(4)
    sums, counts = rng.uniform(3, 12, 40), rng.integers(15, 35, 40)
    fitted = fit(Features.of(sums, counts), 1.05 * sums + 0.02 * counts + 0.4 + 0.01 * rng.standard_normal(40))
    assert len(fitted.terms) > 1
    file = CalibrationFile.of(TABLE.info.id(), TABLE.label(), SCALE, fitted)
    path = tmp_path / "calibration.json"
    path.write_text(file.model_dump_json())
    before = fitted.predict(Features.of([7.0], [20]))
    after = read_calibration(path, scaled(longer(1.01))).predict(Features.of([7.0 * 1.01], [20]))
    for name in ("ms", "low_ms", "high_ms"):
        assert getattr(after, name) == pytest.approx(1.01 * getattr(before, name), rel=1e-12)


@pytest.mark.parametrize(("fitted", "now"), [(None, SCALE), (SCALE, None)])
def test_a_calibration_with_a_scale_and_a_table_without_or_the_reverse(
    tmp_path: Path, fitted: Scale | None, now: Scale | None
) -> None:
    path = write(tmp_path / "calibration.json", scaled(fitted))
    with pytest.raises(TableMismatchError, match=r"no scale.*a scale of 0\.25|a scale of 0\.25.*no scale"):
        read_calibration(path, scaled(now))
    assert read_calibration(path, scaled(fitted)) == calibration()


def earlier(path: Path) -> Path:
    """A calibration as version 1 was written."""
    fields = {"version": 1, "table_id": TABLE.info.id(), "table": TABLE.label()}
    path.write_text(json.dumps(fields | {"calibration": calibration().model_dump(mode="json")}))
    return path


def test_a_calibration_of_version_1_fits_a_table_of_an_earlier_release(tmp_path: Path) -> None:
    path, said = earlier(tmp_path / "calibration.json"), list[str]()
    old = scaled(Scale(reference_ms=0.25, unsettled=OLD_SCALE))
    assert read_calibration(path, old, said.append) == calibration()
    (sentence,) = said
    assert "of version 1 and does not say on which scale" in sentence


def test_a_calibration_of_version_1_is_refused_once_the_scale_was_learned(tmp_path: Path) -> None:
    with pytest.raises(TableMismatchError, match="of version 1 and does not say on which scale") as refused:
        read_calibration(earlier(tmp_path / "calibration.json"), TABLE)
    assert "Validate again" in refused.value.hint


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
    far = fit(Features.of(sums, np.full(40, 9)), 1.2 * sums - 3.2)
    with pytest.raises(CalibrationError, match="ms for a network"):
        estimate(NETWORK, TABLE, far)
