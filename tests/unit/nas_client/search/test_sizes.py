"""FasterSeg at a size that is divisible by 8 alone, from the table to the evaluated network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from nas_client.data.datasets import open_dataset
from nas_client.drawing.placement import place
from nas_client.latency.coefficients import coefficients_of
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.search.cosearch import search
from nas_client.search.first_weights import supernet_weights
from nas_client.train.evaluation import evaluate
from nas_client.train.exporting import export
from nas_client.train.folder import load_trained
from nas_client.train.run import train
from tests.support.searches import small, small_table
from tests.support.trainings import small_config

SIZE = (40, 72)
DATA = {"image_size": SIZE, "train_images": 4, "val_images": 2}
SPACE = create_space(
    SpaceSpec(
        name="fasterseg",
        input_size=SIZE,
        parameters={"layers": 4, "base_channels": 3, "widths": (4, 8), "branches": 3, "factorised_skips": 1},
    )
)


def test_three_branches_are_searched_trained_evaluated_and_exported(tmp_path: Path) -> None:
    """On images and crops of that size; the student starts from the weights it has in the supernet."""
    table = small_table(SPACE.spec)
    relaxed = RelaxedLatency(coefficients_of(table), dtype=torch.float64)
    assert float(relaxed(ArchitectureParameters.zeros(relaxed.shapes, dtype=torch.float64))) > 0
    crops = {f"{phase}__crop": SIZE for phase in ("pretrain", "search")}
    result = search(small(data=DATA, label_stride=8, search__epochs=1, **crops), table, tmp_path / "search")
    assert result.chosen == {"student": "8,16,32", "teacher": "8,16,32"}
    student = result.architecture("student")
    start = supernet_weights(tmp_path / "search", SPACE, "student", student)
    config = small_config(data=DATA, crop=SIZE, epochs=1, losses={"auxiliary_heads": "published"})
    assert train(student, config, tmp_path / "run", start=start).finished
    trained = load_trained(tmp_path / "run")
    found = evaluate(trained, open_dataset(config.data, "val"), "val", config, weights="best").evaluation
    assert found.metrics.pixels > SIZE[0] * SIZE[1]
    assert place(student).scales == (8, 16, 32)
    pytest.importorskip("onnxruntime", reason="the export is checked with it: pip install 'opclock[onnxruntime]'")
    exported = export(trained, tmp_path / "network.onnx")
    assert exported.error is not None
    assert exported.error < 1e-4
