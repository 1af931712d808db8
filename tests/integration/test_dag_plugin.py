"""A search space that has nothing of FasterSeg's, installed in an environment of its own, through every command.

A DAG with best-two selection, concatenation, an attention operator, an edge that goes up, one width, one role, and a kind that
only torch can export.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installed import Installed
from tests.support.repository import ROOT

PLUGIN = ROOT / "tests" / "plugins" / "dag_plugin"
DATA = "{name: synthetic_streets, image_size: [32, 64], train_images: 4, val_images: 2}"
SEARCH = f"""\
data: {DATA}
image_scale: 1.0
pretrain: {{epochs: 0}}
search: {{epochs: 1, batch_size: 2, crop: [32, 32]}}
evaluation: {{statistics_batches: 1}}
latency: {{weights: solved}}
"""
TRAINING = f"""\
data: {DATA}
crop: [32, 64]
batch_size: 2
epochs: 1
label_stride: 4
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    pytest.importorskip("setuptools", reason="builds the plugin: pip install 'opclock[dev]'")
    environment = Installed(tmp_path_factory.mktemp("dag"))
    environment.install(Path(shutil.copytree(PLUGIN, environment.folder / "dag_plugin")))
    (environment.folder / "search.yaml").write_text(SEARCH)
    (environment.folder / "train.yaml").write_text(TRAINING)
    (environment.folder / "lut_data").mkdir()
    return environment


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_space_and_its_kinds_pass_their_suites(installed: Installed) -> None:
    installed.run("pytest", "-q", "-p", "no:cacheprovider", "dag_plugin/tests")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute and a half of work; much longer where others share the cores
def test_every_command_works(installed: Installed) -> None:
    def client(words: str) -> str:
        return installed.run("nas-client", *words.split())

    def document(words: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(client(f"{words} --json"))
        return found

    profile = "profiler-service profile --space lattice --input-size 32x64 --classes 19 --database lattice.db --budget quick"
    assert "0 failed of 14" in installed.run(*profile.split())
    with installed.serving("lattice.db") as url:
        client(f"pull --url {url} -o table.parquet")
        table = "--table table.parquet"
        gaps = document(f"sensitivity {table}")
        assert gaps["expansion_ms"] is None, "there is one width"
        client(f"search {table} --config search.yaml -o runs/found")
        parameters = f"{table} --parameters runs/found/parameters-network.json"
        client(f"loss {parameters}")
        client(f"derive {parameters} -o network.json")
        network = json.loads((installed.folder / "network.json").read_text())
        assert network["space"] == "lattice"
        assert len(network["genotype"]["pair"]) == 2
        client(f"estimate {table} --architecture network.json")
        client("draw --architecture network.json -o network.svg")
        client(f"train --architecture network.json --config train.yaml --supernet runs/found {table} -o runs/trained")
        client(f"evaluate --run runs/trained --url {url} --budget quick")
        client(
            f"experiment random {table} --search runs/found --networks 1 --baseline sampled --tolerance 0.9 "
            "--config train.yaml -o runs/random"
        )
        client(
            "select runs/found --table table.parquet -o runs/selected --front --set selection.images=1 "
            "--set selection.population=4 --set selection.generations=1 --set selection.shortlist=0"
        )
        client("report runs -o report.html")
        client(f"validate --url {url} --space lattice --architectures 8 --budget quick -o validation")
    scored = json.loads((installed.folder / "validation" / "validation.json").read_text())
    assert scored["architectures"] == 8
    assert scored["raw"]["pearson"] > 0.3, "loosely: other tests may run beside this one"
    page = (installed.folder / "report.html").read_text(encoding="utf-8")
    assert "lattice" in page
    assert "candidates were evaluated" in page
    assert (installed.folder / "network.svg").stat().st_size > 0
