"""Found networks against those of their paper: which are trained, and what is made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.spaces.reference_networks import ReferenceNetworks
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import ExitCode
from nas_client.errors import ExperimentError
from nas_client.experiments.reference_networks import ReferencesResult, compare_references, preset_config
from nas_client.report.page import report
from nas_client.train.evaluation import MeasuredSpeed
from tests.support.client_command import Command
from tests.support.run_samples import decoded, evaluation, write_training

SPACE = create_space(
    SpaceSpec(name="search_net", input_size=(32, 32), classes=2, parameters={"base_channels": 4, "levels": 2, "nodes": 2})
)


@pytest.fixture(scope="module")
def found() -> ArchitectureSpec:
    return SPACE.sample(np.random.default_rng(0))


def write_runs(folder: Path, found: ArchitectureSpec, seeds: int) -> None:
    """Finished trainings: the found network is best, and later seeds are better."""
    assert isinstance(SPACE, ReferenceNetworks)
    for seed in range(seeds):
        for place, (name, network) in enumerate({"mine": found, **SPACE.references()}.items()):
            write_training(folder / f"seed{seed}" / name, network, mean_iou=0.6 - 0.1 * place + 0.01 * seed)


def test_all_networks_stand_side_by_side_and_on_the_page(nas_client: Command, tmp_path: Path, found: ArchitectureSpec) -> None:
    folder = tmp_path / "references"
    write_runs(folder, found, 3)
    (tmp_path / "mine.json").write_text(found.model_dump_json())
    ended = nas_client("experiment", "references", "--architecture", tmp_path / "mine.json", "-o", folder, "--json")
    assert ended.code == ExitCode.DONE, ended.err
    result = ReferencesResult.parse(json.loads((folder / "references.json").read_text()))
    assert result == ReferencesResult.parse(ended.document)
    assert [(network.name, network.found) for network in result.networks] == [
        ("mine", True),
        ("unet", False),
        ("unet_plus_plus", False),
        ("fpn", False),
    ]
    assert [network.mean_iou.mean for network in result.networks] == pytest.approx([0.61, 0.51, 0.41, 0.31])
    assert result.networks[0].loss.values == (1, 1, 1)  # of the last epoch
    assert result.networks[0].speed is None
    assert all((folder / f"references.{suffix}").exists() for suffix in ("md", "png", "svg"))
    page = report(tmp_path)
    assert "found against reference networks" in page
    assert "61.00 ± 1.00" in page


def test_each_network_is_measured_once(tmp_path: Path, found: ArchitectureSpec) -> None:
    write_runs(tmp_path, found, 2)
    asked: list[str] = []

    def measure(network: ArchitectureSpec) -> MeasuredSpeed | str:
        asked.append(network.key())
        return evaluation(found, latency_ms=3.0).speed if network == found else "failed: no memory"

    result = compare_references({"mine": found}, tmp_path, preset_config("cpu", "search_net"), seeds=2, measure=measure)
    assert result is not None
    assert asked == [network.architecture for network in result.networks]
    assert result.networks[0].speed is not None
    assert [network.speed_missing for network in result.networks[1:]] == ["failed: no memory"] * 3


def test_what_cannot_be_compared_is_refused(tmp_path: Path, found: ArchitectureSpec) -> None:
    config = preset_config("cpu", "search_net")
    with pytest.raises(ExperimentError, match="'unet' is the name of a reference network"):
        compare_references({"unet": found}, tmp_path, config)
    with pytest.raises(ExperimentError, match="names no networks to compare with"):
        compare_references({"student": decoded("8,32", 0)}, tmp_path, config)
    write_runs(tmp_path, found, 1)
    with pytest.raises(ExperimentError, match="holds the training of another architecture"):
        compare_references({"mine": SPACE.sample(np.random.default_rng(1))}, tmp_path, config, seeds=1)
