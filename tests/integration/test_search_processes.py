"""A search in two processes is the search of one with the combined batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas_client.runs.journal import read_journal
from nas_client.search.cosearch import search
from nas_client.search.epochs import SearchEpoch
from nas_client.selection.candidates import CANDIDATES, read_candidates
from nas_client.selection.run import SELECTION
from nas_client.selection.short_trainings import TRAININGS
from tests.support.repository import ROOT
from tests.support.searches import small, small_table
from tests.support.selections import brief


def run_in_two(folder: Path, tables: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, "-m", "tests.integration.search_process", str(folder), tables],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_two_processes_see_the_losses_of_one(tmp_path: Path) -> None:
    done = run_in_two(tmp_path / "two", "same")
    assert done.returncode == 0, done.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    search(small(), small_table(), tmp_path / "one")
    torch.set_num_threads(threads)
    one, two = (read_journal(tmp_path / name, SearchEpoch) for name in ("one", "two"))
    assert [line.phase for line in two] == ["pretrain", "search", "search"]
    assert two[0].losses == pytest.approx(one[0].losses, rel=5e-5)
    for mine, theirs in zip(one[1:], two[1:], strict=True):  # by then rounding has grown: batches of two images, maps of 2×2
        assert theirs.losses == pytest.approx(mine.losses, rel=1e-2)
        assert theirs.latency.relaxed_ms == pytest.approx(mine.latency.relaxed_ms, rel=1e-4)
        assert theirs.entropy["student"] == pytest.approx(mine.entropy["student"], rel=1e-3)


@pytest.mark.slow
def test_processes_with_different_tables_do_not_start(tmp_path: Path) -> None:
    done = run_in_two(tmp_path / "two", "differing")
    assert done.returncode != 0
    assert "the table differs between processes" in done.stderr
    assert not (tmp_path / "two").exists()


@pytest.mark.slow
def test_two_processes_select_the_networks_of_one(tmp_path: Path) -> None:
    """Each candidate's images are shared, and so are those of the short trainings. One process alone writes."""
    done = run_in_two(tmp_path / "two", "evolution")
    assert done.returncode == 0, done.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    search(brief(), small_table(), tmp_path / "one")
    torch.set_num_threads(threads)
    one, two = (read_candidates(tmp_path / name / SELECTION / CANDIDATES) for name in ("one", "two"))
    assert [c.choices for c in two] == [c.choices for c in one]
    assert [c.accuracy for c in two] == pytest.approx([c.accuracy for c in one], abs=0.01)
    assert len(list((tmp_path / "two" / SELECTION / TRAININGS).iterdir())) == 1
