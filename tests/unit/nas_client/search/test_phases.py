"""A search in two phases: RSPNet's, first of the cell's operators, then of the paths between cells."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from models.networks.module import build_network
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.runs.journal import read_journal
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import LAST, search
from nas_client.search.derivation import derive
from nas_client.search.epochs import Phase, SearchEpoch
from nas_client.search.first_weights import supernet_weights
from nas_client.search.progress import SearchObserver
from tests.support.searches import SMALL, StopAfter, prepared, small, small_table

SPACE = create_space(
    SpaceSpec(
        name="rspnet",
        input_size=(32, 32),
        parameters={"layers": 1, "stack": 1, "part": 2, "base_width": 4, "stem_width": 4, "scales": 2},
    )
)
PHASE = {"epochs": 1, "batch_size": 2, "crop": (32, 32), "architecture": {"method": "sgd", "lr": 0.5}}


def phased(**changes: Any) -> SearchConfig:
    phases = {"search": {**PHASE, "searches": ["alpha"]}, "second": {**PHASE, "searches": ["beta"]}}
    data = {"data__image_size": (32, 32), "data__train_images": 4, "pretrain__epochs": 0, "latency__weights": "solved"}
    return small(**{**data, **phases, **changes})


def saved(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "checkpoints" / f"{LAST}.pt", weights_only=True)["state"]["learner"]
    return state


def test_each_phase_trains_its_granularities_and_the_second_decides_the_others(tmp_path: Path) -> None:
    table = small_table(SPACE.spec)
    whole, first = tmp_path / "whole", tmp_path / "first"
    result = search(phased(), table, whole)
    search(phased(second__epochs=0), table, first)
    assert [line.phase for line in read_journal(whole, SearchEpoch)] == ["search", "second"]
    (before,), (after,) = (saved(folder)["networks"].values() for folder in (first, whole))
    start = prepared(phased(), table).networks["network"].state()
    assert torch.equal(before["beta"], start["beta"])
    assert not torch.equal(before["alpha"], start["alpha"])
    assert torch.equal(after["alpha"], before["alpha"]), "the cell is decided"
    assert not torch.equal(after["beta"], before["beta"])

    path_mean = saved(whole)["supernet"]["cells.path_mean"]
    assert not torch.equal(path_mean, torch.full_like(path_mean, 1 / 3))
    written = json.loads((whole / "parameters-network.json").read_text())
    parameters = ArchitectureParameters.from_json(written, SPACE.parameter_shapes())
    assert not torch.allclose(parameters.beta, after["beta"].to(parameters.beta)), "with the running mean of path attention"
    architecture = ArchitectureSpec.parse_json((whole / "network.json").read_text())
    assert derive(parameters, table).architecture == architecture == result.architecture("network")

    network = build_network(SPACE.plan(architecture))
    supernet_weights(whole, SPACE, "network", architecture)(network)
    kernels = {name: kernel for name, kernel in saved(whole)["supernet"].items() if name.startswith("stems.network.0.conv1")}
    assert torch.equal(network.state_dict()["steps.stem0.conv1.weight"], *kernels.values())


def test_a_search_that_is_stopped_in_its_second_phase_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """The cell is decided again from the saved logits, and the running mean of path attention goes on."""
    table, config = small_table(SPACE.spec), phased(checkpoint_steps=1, second__epochs=2)

    class StopInSecond(SearchObserver):
        def step(self, phase: Phase, done: int, total: int, losses: Mapping[str, float]) -> None:
            if phase == "second" and done == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    search(config, table, tmp_path / "whole")
    assert not search(config, table, tmp_path / "stopped", watch=StopInSecond()).finished
    search(config, table, tmp_path / "stopped", resume=True)
    mine, whole = (saved(tmp_path / name) for name in ("stopped", "whole"))
    for name in ("alpha", "beta"):
        assert torch.equal(mine["networks"]["network"][name], whole["networks"]["network"][name])
    assert all(torch.equal(tensor, whole["supernet"][name]) for name, tensor in mine["supernet"].items())


def test_a_second_phase_with_decided_widths_and_a_temperature_of_its_own_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    second = {**SMALL["search"], "epochs": 1, "searches": ["alpha", "beta"], "temperature": 0.5}
    config = small(pretrain__epochs=0, search__epochs=1, latency__widths="gumbel", second=second)
    search(config, small_table(), tmp_path / "whole")
    assert not search(config, small_table(), tmp_path / "stopped", watch=StopAfter(3)).finished
    search(config, small_table(), tmp_path / "stopped", resume=True)
    mine, whole = (saved(tmp_path / name) for name in ("stopped", "whole"))
    for role, logits in mine["networks"].items():
        assert all(torch.equal(tensor, whole["networks"][role][name]) for name, tensor in logits.items())
    assert all(torch.equal(tensor, whole["supernet"][name]) for name, tensor in mine["supernet"].items())


def test_decided_operators_are_the_only_ones_computed() -> None:
    learner = prepared(phased(), small_table(SPACE.spec))
    network = learner.networks["network"]
    with torch.no_grad():
        network.logits.alpha[:, 2] = 1.0
    assert network.widest_connections().operators is None
    learner.start_phase("second")
    mixture = network.widest_connections()
    assert mixture.operators == (2, 2, 2)
    assert network.optimized[0] is network.logits.beta
    assert network.settled.alpha.softmax(1)[:, 2].tolist() == [1.0] * 3
    called = []
    for name, module in learner.supernet.named_modules():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    learner.supernet(torch.zeros(2, 3, 32, 32), mixture, role="network")
    choices = {name.rpartition(".")[2] for name in called if name.rpartition(".")[0].endswith(".choices") and "mixed" in name}
    assert choices == {"0", "2"}, "those of paths, of which there is one, and the decided ones"


def test_a_phase_that_searches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match=r"second\.searches: gamma; search space 'rspnet' has only alpha, beta"):
        search(phased(second={**PHASE, "searches": ["gamma"]}), small_table(SPACE.spec), tmp_path)
    with pytest.raises(InvalidSpecError, match="searches"):
        phased(search={**PHASE, "searches": ["delta"]})
