"""docs/columns.md says what every column is, in the words of the records that files are written from."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from models.spec.base import Record
from models.spec.measurements import Flag, Status
from models.spec.table_files.columns import COLUMN_BY_NAME
from profiler_service.sample_files import column_names


@pytest.fixture(scope="module")
def column_docs() -> Iterator[ModuleType]:
    path = Path(__file__).parents[2] / "scripts" / "column_docs.py"
    spec = importlib.util.spec_from_file_location("column_docs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["column_docs"] = module  # where `inspect` looks for the source of its classes
    spec.loader.exec_module(module)
    yield module
    del sys.modules["column_docs"]


def test_the_page_is_what_the_script_writes(column_docs: ModuleType) -> None:
    assert column_docs.PAGE.read_text(encoding="utf-8") == column_docs.page(), "write it with python scripts/column_docs.py"


def test_every_column_flag_and_status_is_on_the_page(column_docs: ModuleType) -> None:
    text = column_docs.PAGE.read_text(encoding="utf-8")
    names = [*COLUMN_BY_NAME, *column_names(), *Flag, *Status]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_a_field_that_nobody_documented_is_named(column_docs: ModuleType) -> None:
    class Undocumented(Record):
        """A record.

        Attributes:
            known, also_known: of both something
                is said, in two lines.
        """

        known: int
        also_known: int
        new: int

    docs = column_docs.field_docs(Undocumented)
    assert docs["known"] == docs["also_known"] == "of both something is said, in two lines"
    with pytest.raises(SystemExit, match=r"Undocumented: its docstring says nothing of 'new'"):
        list(column_docs.record_fields(Undocumented))
