"""What the containers may do. They cannot be built where the tests run, so their descriptions are checked."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.repository import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["mem_limit"]
    assert service["memswap_limit"] == service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & service.keys()
    assert [volume.split(":")[1] for volume in service["volumes"]] == ["/data"], "no other part of the box"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", ["Dockerfile", "gpu.Dockerfile"])
def test_no_image_runs_as_root_or_writes_outside_its_volume(name: str) -> None:
    lines = (ROOT / "docker" / name).read_text().splitlines()
    last = {line.split()[0]: line for line in lines if line[:1].isupper()}
    assert last["USER"] == "USER opclock"
    assert last["VOLUME"] == "VOLUME /data"
    assert any(line.startswith("ENV ") and line.endswith("HOME=/data") for line in lines)
