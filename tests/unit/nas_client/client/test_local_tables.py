"""Tables on disk: what is damaged or somebody else's is never taken for a table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas_client.local_tables import CachedTable, TableCache

URL, ID = "http://box:1", "0123456789abcdef"
TABLE = CachedTable('"etag"', b"\x00line\nline\r\n\xff")


@pytest.fixture
def cache(tmp_path: Path) -> TableCache:
    return TableCache(tmp_path / "not" / "there")


def test_what_was_kept_comes_back(cache: TableCache) -> None:
    assert cache.get(URL, ID) is None
    cache.put(URL, ID, TABLE)
    assert cache.get(URL, ID) == TABLE


def test_address_and_id_both_count(cache: TableCache) -> None:
    cache.put(URL, ID, TABLE)
    assert cache.get("http://box:2", ID) is None
    assert cache.get(URL, "fedcba9876543210") is None


def test_a_newer_table_takes_the_place(cache: TableCache) -> None:
    cache.put(URL, ID, TABLE)
    newer = CachedTable('"newer"', b"other")
    cache.put(URL, ID, newer)
    assert cache.get(URL, ID) == newer


@pytest.mark.parametrize("damage", [b"", b"not a table", b'{"version": 2}\nbody', b"{}\n", b"\xff\xfe\n"])
def test_damaged_files_are_removed(cache: TableCache, damage: bytes) -> None:
    cache.put(URL, ID, TABLE)
    path = cache.path(URL, ID)
    path.write_bytes(damage)
    assert cache.get(URL, ID) is None
    assert not path.exists()


@pytest.mark.parametrize("keep", [-1, 60, 5])
def test_files_cut_short_are_removed(cache: TableCache, keep: int) -> None:
    cache.put(URL, ID, TABLE)
    path = cache.path(URL, ID)
    path.write_bytes(path.read_bytes()[:keep])
    assert cache.get(URL, ID) is None
    assert not path.exists()


def test_one_flipped_bit_is_noticed(cache: TableCache) -> None:
    cache.put(URL, ID, TABLE)
    path = cache.path(URL, ID)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert cache.get(URL, ID) is None


def test_a_file_moved_to_another_name_is_not_believed(cache: TableCache) -> None:
    cache.put(URL, ID, TABLE)
    cache.path(URL, ID).rename(cache.path(URL, "fedcba9876543210"))
    assert cache.get(URL, "fedcba9876543210") is None


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = TableCache(tmp_path / "file")
    assert cache.get(URL, ID) is None
    with pytest.raises(OSError, match="file"):
        cache.put(URL, ID, TABLE)


def test_only_the_latest_tables_are_kept(cache: TableCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_client.local_tables.MAX_TABLES", 3)
    for port in range(5):
        cache.put(f"http://box:{port}", ID, TABLE)
        os.utime(cache.path(f"http://box:{port}", ID), (port, port))
    assert [cache.get(f"http://box:{port}", ID) for port in range(5)] == [None, None, TABLE, TABLE, TABLE]


def test_copies_together_have_a_limit_but_the_newest_stays(cache: TableCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_client.local_tables.MAX_BYTES", 3_000)
    tables = [CachedTable('"tag"', bytes(size)) for size in (1_000, 1_000, 1_000, 5_000, 1_000)]
    kept = []
    for port, table in enumerate(tables):
        cache.put(f"http://box:{port}", ID, table)
        os.utime(cache.path(f"http://box:{port}", ID), (port, port))
        kept.append([port for port in range(5) if cache.path(f"http://box:{port}", ID).exists()])
    assert kept == [[0], [0, 1], [1, 2], [3], [4]]


def test_nothing_half_written_stays_behind(cache: TableCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cache.put(URL, ID, TABLE)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        cache.put(URL, ID, CachedTable('"newer"', b"other"))
    assert [path.suffix for path in cache.path(URL, ID).parent.iterdir()] == [".table"]
    assert cache.get(URL, ID) == TABLE
