"""How long the fault suite is, and the databases that it runs on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from profiler_service.storage.location import Location
from profiler_service.storage.store import Store
from tests.support.postgres import Server

NewDatabase = Callable[[], Location]


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the suite runs at full length (`make fault`)."""
    return bool(request.config.getoption("--fault-length") == "full")


@pytest.fixture(scope="module", autouse=True)
def own_device_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Services in these tests do not wait for others that measure on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPCLOCK_LOCK_DIR", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> NewDatabase:
    """Makes an empty database; on a server the former one is emptied."""
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        return server.emptied_database
    template = tmp_path / "template.sqlite"
    Store.open(template).close()

    def make() -> Path:
        path = tmp_path / "opclock.sqlite"
        for beside in tmp_path.glob(f"{path.name}*"):
            beside.unlink()
        shutil.copy(template, path)
        return path

    return make
