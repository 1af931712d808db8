"""Large surfaces: the sky, what lines a street, and the light and grain over everything."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas_client.data.classes import CITYSCAPES, Colour
from nas_client.data.streets.canvas import Camera, Canvas
from nas_client.data.streets.things import near

_BUILDING = CITYSCAPES.id_of("building")
_WALL = CITYSCAPES.id_of("wall")
_FENCE = CITYSCAPES.id_of("fence")
_VEGETATION = CITYSCAPES.id_of("vegetation")
_GLASS: Colour = (64, 72, 84)

_FINE_GRAIN = {"road": 7.0, "sidewalk": 5.0, "building": 4.0, "wall": 9.0, "vegetation": 16.0, "terrain": 12.0}
_COARSE_GRAIN = {"road": 4.0, "sidewalk": 6.0, "building": 3.0, "wall": 6.0, "vegetation": 14.0, "terrain": 8.0, "sky": 3.0}
_COARSE_PIXELS = 4


def sky(size: tuple[int, int], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Colour]:
    """A sky from clear to overcast, paler towards the horizon, over the whole picture; and its haze. Shape: (H, W, 3)."""
    height, width = size
    cloud = rng.uniform(0, 1)
    blue, grey = np.array([96.0, 148.0, 214.0]), np.array([196.0, 198.0, 200.0])
    top = blue + cloud * (grey - blue)
    bottom = top + 0.6 * (np.array([226.0, 228.0, 230.0]) - top)
    share = np.minimum(np.linspace(0, 2.2, height), 1.0)[:, None]
    rows = top + share * (bottom - top)
    red, green, blueish = np.round(bottom).astype(int).tolist()
    return np.repeat(np.round(rows).astype(np.uint8)[:, None], width, axis=1), (red, green, blueish)


def side(
    canvas: Canvas, camera: Camera, x: float, depths: tuple[float, float], rng: np.random.Generator
) -> Callable[[], None] | None:
    """What lines the street between two distances: a building, a wall, a fence, a hedge; None where the view is open."""
    kind = rng.random()
    plane = Plane(canvas, camera, x, depths)
    colours = rng.spawn(1)[0]
    if kind < 0.48:
        return lambda: _building(plane, colours)
    if kind < 0.62:
        return lambda: _wall(plane, colours)
    if kind < 0.76:
        return lambda: _fence(plane, colours)
    if kind < 0.88:
        return lambda: _hedge(plane, colours)
    return None


class Plane:
    """An upright plane along the street, seen at a slant. Points are (share of its length from the near end, metres up)."""

    def __init__(self, canvas: Canvas, camera: Camera, x: float, depths: tuple[float, float]) -> None:
        self._canvas, self._camera, self._x = canvas, camera, x
        self._near = max(depths[0], 0.3 * camera.nearest)
        self._far = depths[1]
        self.length_m = self._far - self._near

    def panel(self, start: float, end: float, low: float, high: float, colour: Colour, class_id: int | None = None) -> None:
        """The part between two shares of the length and two heights, metres."""
        z0, z1 = self._depth(start), self._depth(end)
        points = [self._camera.project(self._x, y, z) for y, z in ((low, z0), (high, z0), (high, z1), (low, z1))]
        self._canvas.polygon(points, self._canvas.hazy(colour, z1), class_id)

    def front(self, outwards_m: float, high: float, colour: Colour, class_id: int) -> None:
        """The end that faces the camera, reaching away from the street."""
        left, top = self._camera.project(self._x, high, self._near)
        right, bottom = self._camera.project(self._x + (outwards_m if self._x > 0 else -outwards_m), 0.0, self._near)
        self._canvas.box(min(left, right), top, max(left, right), bottom, self._canvas.hazy(colour, self._near), class_id)

    def post(self, share: float, high: float, thickness_m: float, colour: Colour, class_id: int) -> None:
        """A thin upright."""
        z = self._depth(share)
        ends = [self._camera.project(self._x, y, z) for y in (0.0, high)]
        self._canvas.line(ends, thickness_m * self._camera.focal / z, self._canvas.hazy(colour, z), class_id)

    def rail(self, high: float, thickness_m: float, colour: Colour, class_id: int) -> None:
        """A thin bar along the whole length."""
        middle = (self._near + self._far) / 2
        ends = [self._camera.project(self._x, high, z) for z in (self._near, self._far)]
        self._canvas.line(ends, thickness_m * self._camera.focal / middle, self._canvas.hazy(colour, middle), class_id)

    def _depth(self, share: float) -> float:
        return self._near + share * (self._far - self._near)


def _building(plane: Plane, rng: np.random.Generator) -> None:
    tones: list[Colour] = [(158, 126, 104), (176, 168, 152), (124, 116, 112), (192, 184, 168), (136, 84, 70)]
    height = rng.uniform(5.0, 18.0)
    colour = near(tones[int(rng.integers(len(tones)))], rng)
    plane.front(12.0, height, near(colour, rng, 10), _BUILDING)
    plane.panel(0, 1, 0, height, colour, _BUILDING)
    columns = max(2, min(5, round(plane.length_m / 3.5)))
    for floor in np.arange(1.2, height - 1.8, 3.2).tolist()[:4]:
        for column in range(columns):
            plane.panel((column + 0.25) / columns, (column + 0.75) / columns, floor, floor + 1.5, _GLASS)


def _wall(plane: Plane, rng: np.random.Generator) -> None:
    height = rng.uniform(1.2, 3.0)
    colour = near((142, 130, 118), rng, 24)
    plane.front(0.4, height, colour, _WALL)
    plane.panel(0, 1, 0, height, colour, _WALL)
    plane.panel(0, 1, height - 0.15, height, near(colour, rng, 20))


def _fence(plane: Plane, rng: np.random.Generator) -> None:
    """Posts and rails, with the view open between them."""
    height = rng.uniform(1.0, 2.0)
    colour = near((96, 88, 82), rng, 40)
    for share in np.linspace(0, 1, max(3, min(14, round(plane.length_m / 1.2)))).tolist():
        plane.post(share, height, 0.12, colour, _FENCE)
    for rail in (0.2, 0.55, 0.95):
        plane.rail(rail * height, 0.12, colour, _FENCE)


def _hedge(plane: Plane, rng: np.random.Generator) -> None:
    height = rng.uniform(1.2, 4.0)
    colour = near((70, 98, 52), rng, 22)
    plane.front(1.5, height, colour, _VEGETATION)
    plane.panel(0, 1, 0, height, colour, _VEGETATION)


def light_and_texture(
    picture: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture with every surface's grain, the day's light and the sensor's noise; the labels as they are.

    Colour alone then says little about the class: streets are grey in several classes, vehicles come in every colour.
    """
    height, width = labels.shape
    fine, coarse = (_by_class(grain)[labels] for grain in (_FINE_GRAIN, _COARSE_GRAIN))
    texture = fine * rng.standard_normal((height, width), dtype=np.float32)
    blocks = rng.standard_normal((height // _COARSE_PIXELS + 1, width // _COARSE_PIXELS + 1), dtype=np.float32)
    blocks = blocks.repeat(_COARSE_PIXELS, axis=0).repeat(_COARSE_PIXELS, axis=1)
    texture += coarse * blocks[:height, :width]
    gain = np.float32(rng.uniform(0.6, 1.25)) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    noise = np.float32(rng.uniform(1.0, 6.0)) * rng.standard_normal((height, width, 3), dtype=np.float32)
    lit = (picture + texture[..., None]) * gain + noise
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8), labels


def _by_class(grain: dict[str, float]) -> NDArray[np.float32]:
    strengths = np.full(len(CITYSCAPES), 2.0, dtype=np.float32)
    for name, strength in grain.items():
        strengths[CITYSCAPES.id_of(name)] = strength
    return strengths
