"""A picture and its labels, painted together with the same strokes, and a camera to place things before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nas_client.data.classes import Colour

Point = tuple[float, float]

_HAZE_M = 90.0
"""Distance in metres at which things have taken on 63 % of the sky's colour."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above a flat street. Metres in the world, pixels in the picture.

    Attributes:
        height, width: of the picture.
        horizon: row of the horizon.
        centre: column that the street runs towards.
        focal: focal length, pixels.
        above_ground_m: how high the camera is.
    """

    height: int
    width: int
    horizon: float
    centre: float
    focal: float
    above_ground_m: float

    def project(self, x: float, y: float, z: float) -> Point:
        """Column and row of a point x to the right of the camera's axis, y above the ground, z ahead."""
        return self.centre + self.focal * x / z, self.horizon + self.focal * (self.above_ground_m - y) / z

    @property
    def nearest(self) -> float:
        """Distance ahead at which the ground enters the picture."""
        return self.focal * self.above_ground_m / (self.height - self.horizon)


class Canvas:
    """Strokes go into the picture and, where they name a class, into the labels too."""

    def __init__(self, picture: NDArray[np.uint8], class_id: int, haze: Colour) -> None:
        height, width = picture.shape[:2]
        self._picture = Image.fromarray(picture)
        self._labels = Image.new("L", (width, height), class_id)
        self._draw_picture = ImageDraw.Draw(self._picture)
        self._draw_labels = ImageDraw.Draw(self._labels)
        self._haze = haze

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The picture and the labels. Shapes: (H, W, 3) and (H, W)."""
        return np.array(self._picture), np.array(self._labels)

    def hazy(self, colour: Colour, z: float) -> Colour:
        """What is left of a colour at that distance."""
        clear = float(np.exp(-z / _HAZE_M))
        red, green, blue = (round(clear * mine + (1 - clear) * haze) for mine, haze in zip(colour, self._haze, strict=True))
        return red, green, blue

    def polygon(self, points: Sequence[Point], colour: Colour, class_id: int | None = None) -> None:
        """A filled polygon."""
        self._draw_picture.polygon(points, fill=colour)
        if class_id is not None:
            self._draw_labels.polygon(points, fill=class_id)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, class_id: int | None = None) -> None:
        """A filled rectangle, one pixel at the least."""
        corners = _pixels(left, top, right, bottom)
        self._draw_picture.rectangle(corners, fill=colour)
        if class_id is not None:
            self._draw_labels.rectangle(corners, fill=class_id)

    def ellipse(
        self, left: float, top: float, right: float, bottom: float, colour: Colour, class_id: int | None = None
    ) -> None:
        """A filled ellipse, one pixel at the least."""
        corners = _pixels(left, top, right, bottom)
        self._draw_picture.ellipse(corners, fill=colour)
        if class_id is not None:
            self._draw_labels.ellipse(corners, fill=class_id)

    def ring(self, left: float, top: float, right: float, bottom: float, width: float, colour: Colour, class_id: int) -> None:
        """The outline of an ellipse, one pixel wide at the least."""
        corners, pixels = _pixels(left, top, right, bottom), max(1, round(width))
        self._draw_picture.ellipse(corners, outline=colour, width=pixels)
        self._draw_labels.ellipse(corners, outline=class_id, width=pixels)

    def line(self, points: Sequence[Point], width: float, colour: Colour, class_id: int) -> None:
        """A line, one pixel wide at the least."""
        pixels = max(1, round(width))
        self._draw_picture.line(points, fill=colour, width=pixels)
        self._draw_labels.line(points, fill=class_id, width=pixels)


class Board:
    """A flat thing that faces the camera, painted in its own metres: u to the right, v up from where it stands."""

    def __init__(self, canvas: Canvas, camera: Camera, x: float, z: float) -> None:
        self._canvas = canvas
        self._z = z
        self._scale = camera.focal / z
        self._u0, self._v0 = camera.project(x, 0.0, z)

    def polygon(self, points: Sequence[Point], colour: Colour, class_id: int | None = None) -> None:
        """A filled polygon."""
        self._canvas.polygon([self._at(*point) for point in points], self._hazy(colour), class_id)

    def box(self, u: float, v: float, width: float, height: float, colour: Colour, class_id: int | None = None) -> None:
        """A rectangle centred at u, standing at v."""
        corners = (*self._at(u - width / 2, v + height), *self._at(u + width / 2, v))
        self._canvas.box(*corners, self._hazy(colour), class_id)

    def ellipse(self, u: float, v: float, width: float, height: float, colour: Colour, class_id: int | None = None) -> None:
        """An ellipse centred at (u, v)."""
        corners = (*self._at(u - width / 2, v + height / 2), *self._at(u + width / 2, v - height / 2))
        self._canvas.ellipse(*corners, self._hazy(colour), class_id)

    def ring(self, u: float, v: float, diameter: float, thickness: float, colour: Colour, class_id: int) -> None:
        """The outline of a circle centred at (u, v)."""
        corners = (*self._at(u - diameter / 2, v + diameter / 2), *self._at(u + diameter / 2, v - diameter / 2))
        self._canvas.ring(*corners, thickness * self._scale, self._hazy(colour), class_id)

    def line(self, points: Sequence[Point], thickness: float, colour: Colour, class_id: int) -> None:
        """A line through the points."""
        self._canvas.line([self._at(*point) for point in points], thickness * self._scale, self._hazy(colour), class_id)

    def _at(self, u: float, v: float) -> Point:
        return self._u0 + self._scale * u, self._v0 - self._scale * v

    def _hazy(self, colour: Colour) -> Colour:
        return self._canvas.hazy(colour, self._z)


def _pixels(left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int]:
    """Whole pixels, those at the far edges left out, so that widths are right to half a pixel."""
    x0, y0 = round(left), round(top)
    return x0, y0, max(x0, round(right) - 1), max(y0, round(bottom) - 1)
