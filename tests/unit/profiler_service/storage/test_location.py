"""Where a database is, and that no password in a URL is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.errors import InvalidSpecError
from profiler_service.settings import Settings
from profiler_service.storage.location import PostgresUrl, location_of

SECRET = "s3cret%2Fw0rd"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://me:{SECRET}@box:5433/opclock", "postgresql://box:5433/opclock?user=me"),
        (f"postgres://me:{SECRET}@[::1]/x", "postgres://[::1]/x?user=me"),
        (f"postgresql://box/x?password={SECRET}&sslmode=require", "postgresql://box/x?sslmode=require"),
        (
            f"postgresql://me@a:1,b:2/x?sslmode=require&pass%77ord={SECRET}",
            "postgresql://a:1,b:2/x?sslmode=require&user=me",
        ),
        ("postgresql:///x?host=/run/postgresql", "postgresql:///x?host=/run/postgresql"),
        ("postgresql://", "postgresql://"),
    ],
)
def test_a_url_shows_no_password(url: str, shown: str) -> None:
    location = location_of(url)
    assert isinstance(location, PostgresUrl)
    assert location.secret() == url
    assert str(location) == shown
    assert "s3cret" not in repr(location)
    if SECRET in url:
        assert "s3cret" not in location.without_secrets(f"bad token {SECRET}, s3cret/w0rd in {url}")
    assert location == PostgresUrl(url) != PostgresUrl("postgresql://another")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@x@box/opclock",  # an @ in the password, which libpq would look up as a host
        f"postgresql://me:/{SECRET}@box/opclock",
        f"postgresql://me:{SECRET}",  # a port, as libpq reads it
        f"mysql://me:{SECRET}@box/opclock",
        f"postgresql+psycopg://me:{SECRET}@box/opclock",
        Path(f"postgresql://me:{SECRET}@box/opclock"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSpecError, match="database: ") as caught:
        Settings.load(database=url)
    monkeypatch.setenv("OPCLOCK_DATABASE", str(url))
    with pytest.raises(InvalidSpecError, match="OPCLOCK_DATABASE") as from_environment:
        Settings.load()
    for error in (caught.value, from_environment.value):
        assert "postgresql://USER@HOST" in error.hint
        assert "s3cret" not in f"{error} {error.hint} {error.__cause__}"


def test_settings_take_files_and_urls() -> None:
    assert Settings.load(database="a/b.sqlite").database == Path("a/b.sqlite")
    chosen = Settings.load(database=f"postgresql://me:{SECRET}@box/tables")
    assert chosen.database == PostgresUrl(f"postgresql://me:{SECRET}@box/tables")
    assert chosen.cache_path == Path("lut_data/tables.cache")
    assert "s3cret" not in repr(chosen) + str(chosen.model_dump())
