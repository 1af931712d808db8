"""One street scene: where the camera stands, what lines the street, who is in it; painted from far to near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas_client.data.base import Sample
from nas_client.data.classes import CITYSCAPES, Colour
from nas_client.data.streets import things
from nas_client.data.streets.canvas import Board, Camera, Canvas
from nas_client.data.streets.surfaces import light_and_texture, side, sky

_ROAD = CITYSCAPES.id_of("road")
_SIDEWALK = CITYSCAPES.id_of("sidewalk")
_BUILDING = CITYSCAPES.id_of("building")
_TERRAIN = CITYSCAPES.id_of("terrain")
_SKY = CITYSCAPES.id_of("sky")
_VEGETATION = CITYSCAPES.id_of("vegetation")

_FAR_M = 90.0
_LANE_M = 3.2


@dataclass(frozen=True)
class Street:
    """Where things are across the street, in metres from the camera's axis.

    Attributes:
        road: left and right kerb.
        walk: left and right outer edge of the sidewalks; buildings begin there, or terrain.
    """

    road: tuple[float, float]
    walk: tuple[float, float]


@dataclass(frozen=True)
class Habit:
    """How often a kind of thing is seen, and where.

    Attributes:
        paint: paints one.
        often: how many there are in a scene on average.
        place: the lanes, the sidewalks, or the kerbs between them.
        nearest: distance ahead below which there is none, in multiples of that at which the ground enters the picture.
    """

    paint: Callable[[Board, np.random.Generator], None]
    often: float
    place: str
    nearest: float


_HABITS = (
    Habit(things.pole, 5.0, "kerb", 1.3),
    Habit(things.tree, 2.5, "walk", 1.6),
    Habit(things.bush, 0.8, "walk", 1.6),
    Habit(things.person, 4.5, "walk", 1.2),
    Habit(things.person, 0.7, "road", 1.6),
    Habit(things.bicycle, 1.5, "kerb", 1.3),
    Habit(things.motorcycle, 1.0, "kerb", 1.4),
    Habit(things.car, 3.5, "road", 1.7),
    Habit(things.truck, 0.45, "road", 2.6),
    Habit(things.bus, 0.45, "road", 2.6),
    Habit(things.train, 0.3, "road", 3.2),
)


def draw_scene(size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """A street with labels of Cityscapes' 19 classes. Every pixel has a class.

    Args:
        size: height and width, pixels.
        rng: everything drawn at random comes from it, so that its state decides the scene.
    """
    height, width = size
    camera = Camera(
        height=height,
        width=width,
        horizon=height * rng.uniform(0.36, 0.5),
        centre=width * rng.uniform(0.38, 0.62),
        focal=width * rng.uniform(0.45, 0.6),
        above_ground_m=rng.uniform(1.2, 1.8),
    )
    picture, haze = sky(size, rng)
    canvas = Canvas(picture, _SKY, haze)
    street = _street(rng)
    _skyline(canvas, camera, rng)
    _ground(canvas, camera, street, rng)
    strokes = [*_sides(canvas, camera, street, rng), *_things(canvas, camera, street, rng)]
    for _, paint in sorted(strokes, key=lambda stroke: -stroke[0]):
        paint()
    return Sample(*light_and_texture(*canvas.arrays(), rng))


Stroke = tuple[float, Callable[[], None]]
"""A distance ahead, and what to paint there."""


def _street(rng: np.random.Generator) -> Street:
    kerbs = -rng.uniform(2.5, 6.5), rng.uniform(2.5, 6.5)
    return Street(kerbs, (kerbs[0] - rng.uniform(1.5, 4.5), kerbs[1] + rng.uniform(1.5, 4.5)))


def _skyline(canvas: Canvas, camera: Camera, rng: np.random.Generator) -> None:
    """Roofs and treetops far away, which close the view above the horizon."""
    step = camera.width / 12
    for column in np.arange(0, camera.width, step).tolist():
        top = camera.horizon - camera.height * rng.uniform(0.01, 0.11)
        base: Colour = (150, 146, 144)
        if rng.random() < 0.5:
            canvas.box(column, top, column + 1.1 * step, camera.horizon, things.near(base, rng), _BUILDING)
        else:
            green: Colour = (112, 130, 112)
            canvas.ellipse(column, top, column + 1.4 * step, camera.horizon + 4, things.near(green, rng), _VEGETATION)


def _ground(canvas: Canvas, camera: Camera, street: Street, rng: np.random.Generator) -> None:
    meadow: Colour = (112, 116, 66) if rng.random() < 0.6 else (132, 112, 84)
    canvas.box(0, camera.horizon, camera.width, camera.height, things.near(meadow, rng), _TERRAIN)
    slab, asphalt = things.near((134, 130, 126), rng, 24), things.near((96, 96, 100), rng, 24)
    for edges, colour, class_id in ((street.walk, slab, _SIDEWALK), (street.road, asphalt, _ROAD)):
        _strip(canvas, camera, edges, (camera.nearest * 0.8, 4 * _FAR_M), colour, class_id)
    kerb: Colour = (170, 168, 162)
    for x in street.road:
        _strip(canvas, camera, (x - 0.08, x + 0.08), (camera.nearest * 0.8, _FAR_M), kerb)
    for x in np.arange(street.road[0] + _LANE_M, street.road[1] - 1.5, _LANE_M).tolist():
        for z in np.arange(camera.nearest + rng.uniform(0, 3), 50.0, 6.0).tolist():
            _strip(canvas, camera, (x - 0.07, x + 0.07), (z, z + 3.0), (214, 212, 204))


def _strip(
    canvas: Canvas,
    camera: Camera,
    edges: tuple[float, float],
    depths: tuple[float, float],
    colour: Colour,
    class_id: int | None = None,
) -> None:
    """A rectangle on the ground."""
    near_left, near_right = (camera.project(x, 0.0, depths[0]) for x in edges)
    far_left, far_right = (camera.project(x, 0.0, depths[1]) for x in edges)
    canvas.polygon([near_left, near_right, far_right, far_left], colour, class_id)


def _sides(canvas: Canvas, camera: Camera, street: Street, rng: np.random.Generator) -> list[Stroke]:
    """What lines both sides of the street, piece by piece from near to far."""
    strokes: list[Stroke] = []
    for x in street.walk:
        z = camera.nearest * rng.uniform(0.6, 1.4)
        while z < _FAR_M:
            length = rng.uniform(5.0, 16.0) * (1 + z / 40)
            paint = side(canvas, camera, x, (z, z + length), rng)
            if paint is not None:
                strokes.append((z + length, paint))
            z += length
    return strokes


def _things(canvas: Canvas, camera: Camera, street: Street, rng: np.random.Generator) -> list[Stroke]:
    strokes: list[Stroke] = []
    for habit in _HABITS:
        for _ in range(int(rng.poisson(habit.often))):
            nearest = habit.nearest * camera.nearest
            z = float(np.exp(rng.uniform(np.log(nearest), np.log(max(45.0, 3 * nearest)))))
            board = Board(canvas, camera, _across(habit.place, street, rng), z)
            strokes.append((z, _painting(habit, board, rng.spawn(1)[0])))
    return strokes


def _painting(habit: Habit, board: Board, rng: np.random.Generator) -> Callable[[], None]:
    return lambda: habit.paint(board, rng)


def _across(place: str, street: Street, rng: np.random.Generator) -> float:
    """Where across the street something of that place is."""
    hand = int(rng.integers(2))
    kerb, wall = street.road[hand], street.walk[hand]
    if place == "road":
        return float(rng.uniform(street.road[0] + 1.0, street.road[1] - 1.0))
    if place == "kerb":
        return kerb + float(rng.uniform(0.1, 0.5)) * (1 if hand else -1)
    return float(rng.uniform(min(kerb, wall), max(kerb, wall)))
