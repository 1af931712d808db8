"""Samples to tensors: the augmentations of FasterSeg's training, and what evaluation does instead.

Source: FasterSeg, Appendix F, and its published configuration: half-size images in the search, a random scale of 0.75, 1 or
1.25, random horizontal flips, random crops, ImageNet's mean and deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nas_client.data.base import Sample
from nas_client.data.classes import IGNORE

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


class Batch(NamedTuple):
    """What a network is trained on: of one example, or of several with a leading dimension.

    Attributes:
        images: float32, normalised. Shape: (N, 3, H, W).
        labels: int64, class ids or `IGNORE`. Shape: (N, H / label_stride, W / label_stride).
    """

    images: Tensor
    labels: Tensor


class Transform(Protocol):
    """A sample to tensors; whatever is random in it comes from the generator."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Batch: ...


@dataclass(frozen=True)
class TrainTransform:
    """Scale, flip, crop, normalise. What lies outside the image is its mean colour, and ignored.

    Attributes:
        crop: height and width of the result, pixels.
        image_scale: by which every image is resized; 0.5 for half-size images.
        scales: one of which, at random, is a further factor.
        flip: mirror half of the images.
        label_stride: of how many pixels in each direction the middle one gives the label: 8 for a loss on the network's output
            before its final upsampling.
    """

    crop: tuple[int, int]
    image_scale: float = 1.0
    scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    flip: bool = True
    label_stride: int = 1

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Batch:
        image, labels = resize(sample, self.image_scale * float(rng.choice(self.scales)))
        if self.flip and rng.random() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        (top, height), (left, width) = (_span(size, crop, rng) for size, crop in zip(labels.shape, self.crop, strict=True))
        pixels = np.zeros((*self.crop, 3), dtype=np.float32)
        pixels[:height, :width] = normalise(image[top : top + height, left : left + width])
        targets = np.full(self.crop, IGNORE, dtype=np.uint8)
        targets[:height, :width] = labels[top : top + height, left : left + width]
        return _tensors(pixels, targets, self.label_stride)


@dataclass(frozen=True)
class EvaluationTransform:
    """Entire images, normalised, and resized if configured. No other processing, as in the paper (section 4.4).

    Attributes:
        image_scale: by which every image is resized; 0.5 for half-size images.
        label_stride: as in `TrainTransform`.
    """

    image_scale: float = 1.0
    label_stride: int = 1

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Batch:
        image, labels = resize(sample, self.image_scale)
        return _tensors(normalise(image), labels, self.label_stride)


def resize(sample: Sample, factor: float) -> Sample:
    """Image and labels resized alike: the image bilinearly, averaging where it shrinks; labels by the nearest."""
    if factor == 1.0:
        return sample
    height, width = sample.labels.shape
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR)
    labels = Image.fromarray(sample.labels).resize(size, Image.Resampling.NEAREST)
    return Sample(np.asarray(image), np.asarray(labels))


def normalise(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each channel less ImageNet's mean, over its deviation. Shape: (H, W, 3)."""
    return (image * np.float32(1 / 255) - _MEAN) / _DEVIATION


def denormalise(images: Tensor) -> Tensor:
    """Pictures again. Shape: (…, 3, H, W) to uint8 of the same shape."""
    mean, deviation = (torch.from_numpy(values).view(3, 1, 1).to(images.device) for values in (_MEAN, _DEVIATION))
    return ((images.float() * deviation + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def _span(size: int, crop: int, rng: np.random.Generator) -> tuple[int, int]:
    """Where a crop begins, and how much of it lies in the image."""
    return int(rng.integers(max(0, size - crop) + 1)), min(size, crop)


def _tensors(image: NDArray[np.float32], labels: NDArray[np.uint8], stride: int) -> Batch:
    sampled = labels[stride // 2 :: stride, stride // 2 :: stride]
    return Batch(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), torch.from_numpy(sampled.astype(np.int64)))
