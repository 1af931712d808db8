"""Metrics from a confusion matrix are those of counting pixel by pixel, and keep what must hold of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nas_client.data.classes import IGNORE
from nas_client.errors import ShapeError
from nas_client.train.predictions import ConfusionMatrix, segmentation_metrics

CLASSES = 4
Pixels = list[tuple[int, int]]

pixels = st.lists(st.tuples(st.sampled_from([*range(CLASSES), IGNORE]), st.integers(0, CLASSES - 1)), min_size=0, max_size=40)


def _tensors(given_pixels: Pixels) -> tuple[Tensor, Tensor]:
    labels, predicted = (torch.tensor([pair[side] for pair in given_pixels], dtype=torch.int64) for side in range(2))
    return predicted, labels


def _matrix(*batches: Pixels) -> ConfusionMatrix:
    matrix = ConfusionMatrix(CLASSES)
    for batch in batches:
        matrix.update(*_tensors(batch))
    return matrix


@given(pixels)
def test_metrics_are_those_of_counting(given_pixels: Pixels) -> None:
    metrics = _matrix(given_pixels).metrics()
    counted = {(position, label, guess) for position, (label, guess) in enumerate(given_pixels) if label != IGNORE}
    right = {pixel for pixel in counted if pixel[1] == pixel[2]}
    accuracies, ious = [], []
    for class_id in range(CLASSES):
        labelled = {pixel for pixel in counted if pixel[1] == class_id}
        predicted = {pixel for pixel in counted if pixel[2] == class_id}
        accuracies.append(len(labelled & right) / len(labelled) if labelled else None)
        ious.append(len(labelled & predicted) / len(labelled | predicted) if labelled | predicted else None)
    assert metrics.pixels == len(counted)
    assert metrics.pixel_accuracy == (len(right) / len(counted) if counted else None)
    for mean, values in ((metrics.mean_pixel_accuracy, accuracies), (metrics.mean_iou, ious)):
        known = [value for value in values if value is not None]
        assert mean == (pytest.approx(sum(known) / len(known)) if known else None)
    assert list(metrics.class_accuracy) == accuracies
    assert list(metrics.class_iou) == ious


@given(pixels, pixels)
def test_batches_add_up(first: Pixels, second: Pixels) -> None:
    assert torch.equal(_matrix(first, second).counts, _matrix(first + second).counts)
    assert torch.equal(_matrix(first, second).counts, _matrix(first).counts + _matrix(second).counts)


@given(pixels, st.permutations(range(CLASSES)))
def test_names_of_classes_do_not_matter(given_pixels: Pixels, order: list[int]) -> None:
    renamed = [(order[label] if label != IGNORE else IGNORE, order[guess]) for label, guess in given_pixels]
    before, after = _matrix(given_pixels).metrics(), _matrix(renamed).metrics()
    assert [after.class_iou[order[class_id]] for class_id in range(CLASSES)] == list(before.class_iou)
    assert after.pixel_accuracy == before.pixel_accuracy
    assert after.mean_iou == (None if before.mean_iou is None else pytest.approx(before.mean_iou))


@given(pixels)
def test_no_iou_exceeds_its_accuracy(given_pixels: Pixels) -> None:
    metrics = _matrix(given_pixels).metrics()
    for accuracy, iou in zip(metrics.class_accuracy, metrics.class_iou, strict=True):
        assert accuracy is None or (iou is not None and 0 <= iou <= accuracy <= 1)


def test_absent_classes_are_left_out_of_means() -> None:
    metrics = segmentation_metrics(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert metrics.class_iou == (0.75, 0.8, None)
    assert [metrics.mean_iou, metrics.mean_pixel_accuracy, metrics.pixel_accuracy] == [0.775, 0.875, 0.875]


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"predictions have shape \(2, 3\), labels \(2, 4\)"):
        ConfusionMatrix(2).update(torch.zeros(2, 3), torch.zeros(2, 4))
