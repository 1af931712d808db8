from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from models.export.onnx_graph import to_onnx
from models.networks.structure import NetworkPlan
from models.operators.seeded_weights import fill, random_input
from models.spaces.registry import create_space, plan_at
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from nas_client.errors import ExportCheckError, TrainingError
from nas_client.train import exporting
from nas_client.train.exporting import export
from nas_client.train.folder import Trained
from nas_client.train.networks import seeded_network
from nas_client.train.weights import copy_of
from tests.support.trainings import small_architecture

onnxruntime = pytest.importorskip("onnxruntime", reason="exported graphs are run by it: pip install 'opclock[onnxruntime]'")


def _trained(**changes: Any) -> Trained:
    """With statistics and factors that differ from channel to channel, as after a training."""
    architecture = small_architecture(16, 32).model_copy(update=changes)
    network = fill(seeded_network(architecture, (64, 64), auxiliary=True, seed=0).network, "trained")
    return Trained(architecture, copy_of(network))


@pytest.mark.parametrize("size", [None, (32, 96)])
def test_a_file_computes_what_the_network_does(size: tuple[int, int] | None, tmp_path: Path) -> None:
    trained, path = _trained(), tmp_path / "network.onnx"
    exported = export(trained, path, input_size=size)
    image = random_input((1, 3, *(size or (64, 64))), "another image")
    (scores,) = onnxruntime.InferenceSession(path).run(None, {"input": image})
    with torch.no_grad():
        expected = trained.network(size)(torch.from_numpy(image)).numpy()
    assert np.linalg.norm(scores - expected) < 1e-4 * np.linalg.norm(expected)
    assert exported.input_shape == image.shape
    assert exported.error is not None
    assert exported.error < 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_file_can_give_class_ids(dtype: str, tmp_path: Path) -> None:
    trained, path = _trained(dtype=dtype), tmp_path / "network.onnx"
    exported = export(trained, path, input_size=(32, 96), result="labels")
    assert exported.output_shape == (1, 32, 96)
    image = random_input((1, 3, 32, 96), "another image")
    (labels,) = onnxruntime.InferenceSession(path).run(["output"], {"input": image.astype(dtype)})
    with torch.no_grad():
        expected = trained.network((32, 96))(torch.from_numpy(image)).argmax(dim=1).numpy()
    assert labels.dtype == np.int32
    assert len(np.unique(expected)) > 1
    assert (labels == expected).mean() > 0.98


def test_a_file_can_leave_the_upsampling_to_the_device(tmp_path: Path) -> None:
    trained, path = _trained(), tmp_path / "network.onnx"
    exported = export(trained, path, result="coarse")
    assert exported.output_shape == (1, 19, 8, 8)
    image = random_input((1, 3, 64, 64), "another image")
    (scores,) = onnxruntime.InferenceSession(path).run(None, {"input": image})
    with torch.no_grad():
        expected = trained.network()(torch.from_numpy(image))
    upsampled = functional.interpolate(torch.from_numpy(scores), (64, 64), mode="bilinear", align_corners=True)
    assert torch.allclose(upsampled, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_a_network_without_upsampling_has_none_to_leave_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*arguments: Any) -> NetworkPlan:
        plan = plan_at(*arguments)
        return replace(plan, steps=plan.steps[:-1])

    monkeypatch.setattr(exporting, "plan_at", without)
    with pytest.raises(TrainingError, match="ends with segmentation_head, not with an upsampling to be left out"):
        export(_trained(), tmp_path / "network.onnx", result="coarse")
    assert not any(tmp_path.iterdir())


def test_nothing_but_the_network_is_in_the_file(tmp_path: Path) -> None:
    trained = _trained()
    export(trained, tmp_path / "network.onnx")
    operations = [node.op_type for node in onnx.load(tmp_path / "network.onnx").graph.node]
    convolutions = [layer for layer in trained.network().modules() if isinstance(layer, nn.Conv2d)]
    assert operations.count("Conv") == len(convolutions)
    assert "BatchNormalization" not in operations


def test_half_precision_is_exported_as_such(tmp_path: Path) -> None:
    exported = export(_trained(dtype="float16"), tmp_path / "network.onnx")
    assert exported.dtype == "float16"
    assert exported.error is not None
    assert 1e-5 < exported.error < 1e-2


def test_a_graph_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(network: nn.Module, *arguments: Any, **options: Any) -> onnx.ModelProto:
        return to_onnx(fill(copy.deepcopy(network), "other weights"), *arguments, **options)

    monkeypatch.setattr(exporting, "to_onnx", other)
    for result in ("scores", "labels", "coarse"):
        with pytest.raises(ExportCheckError, match=r"off by [0-9.e+-]+ \(relative L2\) from torch's; float32 allows 0\.0001"):
            export(_trained(), tmp_path / "network.onnx", result=result)
    assert not any(tmp_path.iterdir())


def test_without_a_runtime_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportCheckError) as refused:
        export(_trained(), tmp_path / "network.onnx")
    assert "opclock[onnxruntime]" in refused.value.hint
    assert not any(tmp_path.iterdir())
    assert export(_trained(), tmp_path / "network.onnx", check=False).error is None
    assert (tmp_path / "network.onnx").exists()


def test_sizes_and_types_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match="width 70 is not divisible by 8"):
        export(_trained(), tmp_path / "network.onnx", input_size=(64, 70))
    with pytest.raises(ExportCheckError, match="bfloat16"):
        export(_trained(dtype="bfloat16"), tmp_path / "network.onnx")


def test_recurrences_can_be_written_step_by_step(tmp_path: Path) -> None:
    space = create_space(SpaceSpec(name="mfasterseg", input_size=(64, 64), parameters={"layers": 5}))
    architecture = space.sample(np.random.default_rng(0))
    trained = Trained(architecture, copy_of(seeded_network(architecture, (64, 64), auxiliary=False, seed=0).network))
    scanned, unrolled = tmp_path / "scanned.onnx", tmp_path / "unrolled.onnx"
    exported = export(trained, unrolled, unrolled=True)
    assert exported.error is not None
    assert exported.error < 1e-4
    export(trained, scanned, check=False)
    assert [any(node.op_type == "Max" for node in onnx.load(path).graph.node) for path in (scanned, unrolled)] == [True, False]
