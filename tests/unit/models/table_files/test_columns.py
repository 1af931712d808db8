"""The list of columns follows the models; what follows from it has to hold for fields that are added later."""

from __future__ import annotations

from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.table_files.codec import COLUMN_BY_NAME, COLUMNS, ColumnType, to_row
from tests.support import table_samples as samples


def test_every_field_has_one_column() -> None:
    fields = ["key", "label", *OperatorSpec.model_fields, "architecture", *Measurement.model_fields]
    fields.remove("workload")
    assert sorted(column.name for column in COLUMNS) == sorted(fields)


def test_types() -> None:
    types = {name: column.type for name, column in COLUMN_BY_NAME.items()}
    assert types["dtype"] is types["status"] is types["message"] is ColumnType.TEXT
    assert types["height"] is types["samples"] is types["engine_bytes"] is ColumnType.INTEGER
    assert types["value_ms"] is types["cv"] is ColumnType.FLOAT
    assert types["measured_at"] is ColumnType.TIME
    assert types["attributes"] is types["architecture"] is types["flags"] is ColumnType.JSON


def test_absent_means_the_default() -> None:
    """Rows leave None out, so a nullable field with another default would not survive."""
    for name, field in Measurement.model_fields.items():
        if name in COLUMN_BY_NAME and COLUMN_BY_NAME[name].nullable:
            assert field.default is None, name


def test_a_row_has_a_value_for_every_column() -> None:
    for workload in (samples.operator(), samples.architecture()):
        assert to_row(samples.measurement(workload)).keys() == COLUMN_BY_NAME.keys()
