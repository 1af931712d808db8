"""RSPNet at toy size through every command: measured, searched in two phases, derived, trained, evaluated, validated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.spec.errors import ExitCode
from tests.support.client_command import Command, command_fixture
from tests.support.ended import Ended
from tests.support.local_service import serving

__all__ = ["command_fixture"]

PARAMETERS = {"layers": 1, "stack": 2, "part": 2, "base_width": 4, "stem_width": 4, "scales": 2}
DATA = "{name: synthetic_streets, image_size: [32, 64], train_images: 4, val_images: 2}"
PHASE = "epochs: 1, batch_size: 2, crop: [32, 32]"
SEARCH = f"""\
data: {DATA}
image_scale: 1.0
search: {{{PHASE}}}
second: {{{PHASE}}}
evaluation: {{statistics_batches: 1}}
"""
TRAINING = f"""\
data: {DATA}
crop: [32, 64]
batch_size: 2
epochs: 1
label_stride: 4
"""


@pytest.mark.slow
@pytest.mark.timeout(300)  # half a minute of work; much longer where others share the cores
def test_every_command_works(nas_client: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="measures with ONNX Runtime: pip install 'opclock[onnxruntime]'")
    monkeypatch.setenv("OPCLOCK_CLIENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("OPCLOCK_CLIENT_POLL_S", "0.1")
    monkeypatch.chdir(tmp_path)
    Path("search.yaml").write_text(SEARCH)
    Path("train.yaml").write_text(TRAINING)

    def done(words: str) -> Ended:
        ended = nas_client(*words.split())
        assert ended.code == ExitCode.DONE, f"{words}\n{ended.err}"
        return ended

    space = "--space rspnet --input-size 32x64 " + " ".join(f"--parameter {name}={n}" for name, n in PARAMETERS.items())
    with serving(tmp_path / "rspnet.db") as service:
        profiled = done(f"profile --url {service.url} {space} --budget quick --json").document
        assert profiled["counts"]["failed"] == 0
        assert profiled["counts"]["measured"] == profiled["counts"]["total"] > 20
        done(f"pull --url {service.url} -o table.parquet")
        table = "--table table.parquet"
        gaps = done(f"sensitivity {table} --json").document
        assert gaps["expansion_ms"] is None, "there is one width"
        done(f"search {table} --config search.yaml -o runs/found")
        phases = [json.loads(line)["phase"] for line in Path("runs/found/epochs.jsonl").read_text().splitlines()]
        assert phases == ["search", "second"]
        parameters = f"{table} --parameters runs/found/parameters-network.json"
        done(f"loss {parameters}")
        done(f"derive {parameters} -o network.json")
        assert Path("network.json").read_text() == Path("runs/found/network.json").read_text()
        done(f"estimate {table} --architecture network.json")
        done("draw --architecture network.json -o network.svg")
        done(f"train --architecture network.json --config train.yaml --supernet runs/found {table} -o runs/trained")
        done(f"evaluate --run runs/trained --url {service.url} --budget quick")
        done("report runs -o report.html")
        done(f"validate --url {service.url} --space rspnet --architectures 8 --budget quick -o validation")
    assert json.loads(Path("validation/validation.json").read_text())["architectures"] == 8
    assert "rspnet" in Path("report.html").read_text(encoding="utf-8")
    assert Path("network.svg").stat().st_size > 0
