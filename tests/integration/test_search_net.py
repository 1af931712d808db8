"""SEARCH-Net through every command at toy size: measured, searched on generated pets, trained, compared, drawn, reported."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.client_command import Command, command_fixture
from tests.support.local_service import PROFILER_SERVICE, serving
from tests.support.one_thread import one_thread_fixture

__all__ = ["command_fixture", "one_thread_fixture"]

SPACE = "--space search_net --input-size 32x32"
SMALL = "--parameter base_channels=4 --parameter levels=2 --parameter nodes=2 --parameter operators=3,5,7"
DATA = "{name: synthetic_pets, image_size: [32, 32], train_images: 4, val_images: 2}"
SEARCH = f"""\
data: {DATA}
search: {{epochs: 1, batch_size: 2, crop: [32, 32]}}
evaluation: {{statistics_batches: 1}}
"""
TRAINING = f"""\
data: {DATA}
crop: [32, 32]
batch_size: 2
epochs: 1
"""


@pytest.mark.slow
def test_every_command_works(nas_client: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPCLOCK_CLIENT_CACHE_DIR", str(tmp_path / "cache"))
    Path("search.yaml").write_text(SEARCH)
    Path("train.yaml").write_text(TRAINING)

    def client(words: str) -> str:
        ended = nas_client(*words.split())
        assert ended.code == 0, f"{words}\n{ended.out}\n{ended.err}"
        return ended.out

    profile = [PROFILER_SERVICE, "profile", "--database", "t.db", "--budget", "quick", "--classes", "2"]
    profile += [*SPACE.split(), *SMALL.split()]
    done = subprocess.run(profile, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 failed" in done.stdout
    with serving(tmp_path / "t.db") as service:
        url = f"--url {service.url}"
        client(f"pull {url} -o table.parquet")
        table = "--table table.parquet"
        gaps = json.loads(client(f"sensitivity {table} --json"))
        assert gaps["expansion_ms"] is None, "there is one width"
        client(f"search {table} --config search.yaml -o runs/found")
        parameters = f"{table} --parameters runs/found/parameters-network.json"
        client(f"loss {parameters}")
        client(f"derive {parameters} -o found.json")
        client(f"estimate {table} --architecture found.json")
        client("draw --architecture found.json -o found.svg")
        client(f"train --architecture found.json --config train.yaml --supernet runs/found {table} -o runs/trained")
        client(f"evaluate --run runs/trained {url} --budget quick -o runs/evaluated")
        client(
            f"experiment references --architecture found.json --reference unet {url} --budget quick --preset toy --seeds 1 "
            "-o runs/references"
        )
        client("report runs -o report.html")
        client(f"validate {url} --space search_net --architectures 8 --budget quick -o validation")
    assert len(json.loads(Path("found.json").read_text())["genotype"]["cells"]) == 4
    networks = json.loads(Path("runs/references/references.json").read_text())["networks"]
    assert [network["name"] for network in networks] == ["found", "unet"]
    assert all(network["speed"]["latency_ms"] > 0 for network in networks)
    page = Path("report.html").read_text(encoding="utf-8")
    assert "unet" in page
    assert Path("found.svg").stat().st_size > 0
