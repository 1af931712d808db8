"""FasterSeg's published table through every format and the database: all 667 values as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spaces.registry import published_readers
from models.spec.table_files import TableFormat, read_table, write_table
from models.spec.tables import Table
from profiler_service.cli.import_fasterseg import imported_table
from profiler_service.storage.store import Store
from tests.support.reference import reference_file


@pytest.fixture(scope="module")
def published() -> Table:
    path = reference_file("fasterseg/latency_lookup_table.npy")
    table = published_readers()["fasterseg"].read_published(path)
    return imported_table(table, device="GTX 1080 Ti", runtime="TensorRT 5.1.5", source=path.name)


@pytest.mark.parametrize("file_format", list(TableFormat))
def test_every_format_keeps_every_value(published: Table, file_format: TableFormat, tmp_path: Path) -> None:
    path = tmp_path / f"table.{file_format}"
    write_table(published, path, file_format)
    back = read_table(path)
    assert len(back.values_ms()) == 667
    assert back.values_ms() == published.values_ms()
    assert back == published


def test_the_database_keeps_every_value(published: Table, tmp_path: Path) -> None:
    with Store.open(tmp_path / "opclock.sqlite") as store:
        back = store.table(store.import_table(published))
        assert back == published
        assert store.table_columns(published.info.id())[1].table == published
