"""Stopping, the journal, and losses that are no numbers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.errors import DivergenceError
from nas_client.runs.journal import LINES, Journal, read_journal
from nas_client.runs.stopping import StopRequest, require_finite


class Line(Record):
    epoch: int


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert signal.getsignal(number) is before, "a second signal must end the process as usual"
    assert signal.getsignal(number) is before


def test_handlers_come_back_without_a_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_lines_of_epochs_that_are_done_again_go(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for epoch in range(3):
            journal.write(Line(epoch=epoch))
    with Journal(tmp_path, keep=1) as journal:
        journal.write(Line(epoch=7))
    assert [line.epoch for line in read_journal(tmp_path, Line)] == [0, 7]


def test_a_last_line_that_was_cut_off_is_named_and_goes_when_the_run_goes_on(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write(Line(epoch=0))
        journal.write(Line(epoch=1))
    path = tmp_path / LINES
    whole = path.read_bytes()
    for torn in (b'{"epo', b"\0\0\0", b"\xff"):
        path.write_bytes(whole + torn)
        with pytest.raises(InvalidSpecError, match=r"epochs\.jsonl, line 3: not a JSON document"):
            read_journal(tmp_path, Line)
    for keep in (2, 3):  # lines reach the disk after the checkpoint that counts them, if the machine itself fails
        path.write_bytes(whole + b'{"epo')
        with Journal(tmp_path, keep=keep) as journal:
            assert path.read_bytes() == whole
            journal.write(Line(epoch=2))
        assert [line.epoch for line in read_journal(tmp_path, Line)] == [0, 1, 2]


def test_curves_are_read_by_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Journal(tmp_path) as journal:
        for step in range(3):
            journal.scalars(step, {"loss/weights": 2.0 - step})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/weights")] == [(0, 2.0), (1, 1.0), (2, 0.0)]


def test_a_silent_journal_leaves_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "run", silent=True) as journal:
        journal.write(Line(epoch=0))
        journal.scalars(0, {"a": 1.0})
    assert not (tmp_path / "run").exists()
    assert read_journal(tmp_path / "run", Line) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_term_that_is_no_number_is_named(value: float) -> None:
    with pytest.raises(DivergenceError, match=f"epoch 3: the loss 'latency' is {value}"):
        require_finite("epoch 3", segmentation=torch.tensor(1.0), latency=torch.tensor(value))


def test_finite_losses_pass() -> None:
    require_finite("epoch 3", segmentation=torch.tensor(1.0), latency=torch.tensor(0.0, dtype=torch.float64))
