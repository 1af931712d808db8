"""A training in two processes is the training of one with the combined batch; and one that is told to end saves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nas_client.cli.arguments import INTERRUPTED
from nas_client.runs.journal import read_journal
from nas_client.train.folder import EpochRecord, load_trained
from nas_client.train.run import train
from tests.support.repository import ROOT
from tests.support.trainings import small_architecture, small_config


@pytest.mark.slow
def test_two_processes_see_the_losses_of_one(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "tests.integration.training_process", str(tmp_path / "two")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(small_architecture(), small_config(label_stride=1), tmp_path / "one")
    torch.set_num_threads(threads)
    one, two = (read_journal(tmp_path / name, EpochRecord) for name in ("one", "two"))
    assert len(two) == 3
    for mine, theirs in zip(one, two, strict=True):
        for term, allowed in (("segmentation", 1e-2), ("auxiliary", 1e-2), ("gradient_norm", 3e-2)):
            assert getattr(theirs, term) == pytest.approx(getattr(mine, term), rel=allowed), (mine.epoch, term)
    assert two[0].segmentation == pytest.approx(one[0].segmentation, rel=1e-4)
    assert two[0].validation is not None
    assert one[0].validation is not None
    assert two[0].validation.pixels == one[0].validation.pixels, "every image is validated once"
    weights = [load_trained(tmp_path / name, "final").weights for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()


@pytest.mark.slow
def test_a_terminated_process_saves_its_step(tmp_path: Path) -> None:
    architecture = tmp_path / "architecture.json"
    architecture.write_text(small_architecture().model_dump_json())
    run = tmp_path / "run"
    settings = small_config(epochs=100_000).model_dump(mode="json")
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    command = [sys.executable, "-c", "from nas_client.cli.main import main; main()", "train", "-o", str(run)]
    process = subprocess.Popen(
        [*command, "--architecture", str(architecture), "--config", str(tmp_path / "config.yaml")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.pt").exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, errors
    result = json.loads((run / "result.json").read_text())
    assert not result["finished"]
    assert f"stopped and saved after step {result['steps']}" in errors
