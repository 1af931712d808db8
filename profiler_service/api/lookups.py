"""The answer to a look-up, made of records as they are stored. Their values are checked; the operator only has to be the one
that was asked for, which has been checked as part of the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import create_model
from pydantic_core import to_json

from models.spec.measurements import Measurement, Workload
from models.spec.operators import OperatorSpec
from profiler_service.storage.schema import load

_Values = create_model("_Values", __base__=Measurement, workload=(dict[str, Any], ...))
"""A measurement whose operator is left as JSON."""


def answer(table_id: str, wanted: Sequence[Workload], texts: Mapping[str, str]) -> bytes:
    """What `LookupResponse` says as JSON.

    Args:
        table_id: of the table.
        wanted: workloads, in order.
        texts: key to record (`record_text`), of those that the table has.

    Raises:
        StorageError: a record cannot be read.
    """
    results = [None if (text := texts.get(workload.key())) is None else _whole(table_id, workload, text) for workload in wanted]
    return to_json({"table_id": table_id, "results": results})


def _whole(table_id: str, workload: Workload, text: str) -> dict[str, Any]:
    """A record with every field. One that is not quite what this release writes is read as a measurement."""
    if isinstance(workload, OperatorSpec):
        try:
            found = vars(_Values.model_validate_json(text, strict=True))
        except ValueError:  # whatever it is: the record says what is wrong with it
            pass
        else:
            if found["workload"] == dict(workload):
                return found
    return load(Measurement, text, f"table {table_id}, key {workload.key()}").model_dump(mode="json")
