"""One animal-like shape on a textured ground, with its labels: 0 the ground, 1 the animal, `IGNORE` along the outline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from nas_client.data.base import Sample
from nas_client.data.classes import IGNORE

Point = tuple[float, float]

_COLOURS = np.array(
    [[196, 150, 96], [120, 82, 50], [60, 54, 52], [214, 206, 194], [150, 150, 146], [96, 118, 70], [170, 120, 100]], dtype=float
)
"""Fur and ground take their colours from the same."""

_OUTLINE = 3
"""Pixels within one pixel of the outline do not count."""


def draw_animal(size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """An animal seen from the side, of any size, direction and fur, before ground with other things on it.

    Args:
        size: height and width, pixels.
        rng: everything drawn at random comes from it.
    """
    fur, ground = rng.choice(len(_COLOURS), size=2, replace=False)
    picture = _surface(size, _COLOURS[ground], rng)
    for _ in range(int(rng.poisson(3.0))):
        spot = _clutter(size, rng)
        picture = np.where(spot[..., None], _surface(size, _COLOURS[rng.integers(len(_COLOURS))], rng), picture)
    shape = _animal(size, rng)
    inside = np.asarray(shape) > 0
    coat = _surface(size, _COLOURS[fur], rng) + _markings(size, rng)
    picture = np.where(inside[..., None], coat, picture)
    light = 1 + rng.uniform(-0.25, 0.25) * np.linspace(-1, 1, size[1])[None, :, None]
    picture = picture * light + rng.normal(0, 4, (*size, 1))
    labels = inside.astype(np.uint8)
    labels[_outline(shape)] = IGNORE
    return Sample(picture.clip(0, 255).astype(np.uint8), labels)


def _animal(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Its silhouette, 255 inside: body, head, ears, legs and a tail."""
    height, width = size
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    unit = min(height, width) * rng.uniform(0.16, 0.34)
    centre = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.4, 0.6)
    angle, facing = rng.uniform(-0.35, 0.35), rng.choice((-1.0, 1.0))

    def at(x: float, y: float) -> Point:
        """A point in the animal's own units: x forwards, y up."""
        x *= facing
        turned = x * np.cos(angle) + y * np.sin(angle), x * np.sin(angle) - y * np.cos(angle)
        return centre[0] + unit * float(turned[0]), centre[1] + unit * float(turned[1])

    def oval(x: float, y: float, wide: float, high: float) -> None:
        turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        draw.polygon([at(x + wide * np.cos(t), y + high * np.sin(t)) for t in turns], fill=255)

    def limb(points: Sequence[Point], thickness: float) -> None:
        draw.line([at(*point) for point in points], fill=255, width=max(1, round(thickness * unit)), joint="curve")

    length, belly, leg = rng.uniform(0.8, 1.15), rng.uniform(0.38, 0.5), rng.uniform(0.5, 0.9)
    for x in (-0.7 * length, -0.5 * length, 0.5 * length, 0.7 * length):
        limb([(x, -0.2), (x + rng.uniform(-0.2, 0.2), -belly - leg)], rng.uniform(0.1, 0.18))
    bend = rng.uniform(-0.3, 0.6)
    limb([(-length, 0.1), (-length - 0.35, 0.2 + bend), (-length - 0.5, 0.6 + bend)], rng.uniform(0.07, 0.16))
    oval(0, 0, length, belly)
    head, neck = rng.uniform(0.28, 0.4), (length + 0.1, rng.uniform(0.35, 0.7))
    limb([(0.7 * length, 0.1), neck], 0.35)
    oval(*neck, head, 0.9 * head)
    oval(neck[0] + head, neck[1] - 0.1, 0.5 * head, 0.35 * head)
    ear = rng.uniform(0.15, 0.45)
    for shift in (-0.7, 0.1):
        base = neck[0] + shift * head
        tip = base + rng.uniform(-0.1, 0.2), neck[1] + 0.7 * head + ear
        draw.polygon([at(base, neck[1] + 0.5 * head), at(*tip), at(base + 0.5 * head, neck[1] + 0.5 * head)], fill=255)
    return image


def _clutter(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where some other thing stands: an ellipse, a rectangle or a bar. Shape: (H, W)."""
    height, width = size
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    across, down = (min(height, width) * rng.uniform(0.05, 0.3) for _ in range(2))
    kind = rng.integers(3)
    if kind == 0:
        draw.ellipse((x - across, y - down, x + across, y + down), fill=1)
    elif kind == 1:
        draw.rectangle((x - across, y - down, x + across, y + down), fill=1)
    else:
        draw.line([(x - 2 * across, y), (x + 2 * across, y + down)], fill=1, width=max(2, round(0.2 * down)))
    return np.asarray(image)


def _surface(size: tuple[int, int], colour: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour with grain at three scales. Shape: (H, W, 3)."""
    grain = sum(strength * _noise(size, cells, rng) for cells, strength in ((4, 14.0), (12, 9.0), (40, 7.0)))
    surface: NDArray[np.float64] = colour + rng.normal(0, 12, 3) + np.asarray(grain)[..., None]
    return surface


def _markings(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Stripes, patches or nothing, as what is added to the colour of fur. Shape: (H, W, 1)."""
    kind, strength = rng.integers(3), rng.uniform(-50, 50)
    if kind == 0:
        return np.zeros((*size, 1))
    if kind == 1:
        rows, columns = np.mgrid[: size[0], : size[1]] / min(size)
        phase = rng.uniform(15, 40) * (columns + rng.uniform(-1, 1) * rows) + 2 * _noise(size, 6, rng)
        marked = np.sin(2 * phase) > 0
    else:
        marked = _noise(size, 6, rng) > 0.4
    return np.where(marked, strength, 0.0)[..., None]


def _noise(size: tuple[int, int], cells: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise of deviation about 1 with so many cells along the shorter side. Shape: (H, W)."""
    height, width = size
    scale = min(size) / cells
    coarse = rng.standard_normal((max(2, round(height / scale)), max(2, round(width / scale)))).astype(np.float32)
    smooth = Image.fromarray(coarse, mode="F").resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float64)


def _outline(shape: Image.Image) -> NDArray[np.bool_]:
    """Where a silhouette begins or ends. Shape: (H, W)."""
    wider, narrower = (np.asarray(shape.filter(each(_OUTLINE))) for each in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    outline: NDArray[np.bool_] = wider != narrower
    return outline
