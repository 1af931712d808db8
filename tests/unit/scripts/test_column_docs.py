"""docs/columns.md says what every column is, in the words of the records that files are written from."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from models.spec.base import Record
from models.spec.measurements import Flag, Status
from models.spec.table_files.codec import COLUMN_BY_NAME
from profiler_service.raw_data import column_names
from tests.support.scripts import load_script


@pytest.fixture(name="column_docs", scope="module")
def column_docs_fixture() -> Iterator[ModuleType]:
    with load_script("column_docs") as module:
        yield module


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
