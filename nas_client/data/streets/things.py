"""What stands and moves in a street. Sizes in metres; colours and sizes drawn at random, shapes typical of their class."""

from __future__ import annotations

import numpy as np

from nas_client.data.classes import CITYSCAPES, Colour
from nas_client.data.streets.canvas import Board

POLE = CITYSCAPES.id_of("pole")
LIGHT = CITYSCAPES.id_of("traffic light")
SIGN = CITYSCAPES.id_of("traffic sign")
VEGETATION = CITYSCAPES.id_of("vegetation")
PERSON = CITYSCAPES.id_of("person")
RIDER = CITYSCAPES.id_of("rider")
CAR = CITYSCAPES.id_of("car")
TRUCK = CITYSCAPES.id_of("truck")
BUS = CITYSCAPES.id_of("bus")
TRAIN = CITYSCAPES.id_of("train")
MOTORCYCLE = CITYSCAPES.id_of("motorcycle")
BICYCLE = CITYSCAPES.id_of("bicycle")

_GLASS: Colour = (38, 44, 54)
_TYRE: Colour = (22, 22, 24)
_SKIN: Colour = (198, 156, 130)


def any_colour(rng: np.random.Generator, darkest: int = 25, lightest: int = 235) -> Colour:
    """Any colour: clothes and vehicles come in all."""
    red, green, blue = rng.integers(darkest, lightest, 3).tolist()
    return red, green, blue


def near(colour: Colour, rng: np.random.Generator, spread: int = 16) -> Colour:
    """A colour like that one, lighter or darker, a little off in hue."""
    shift = rng.integers(-spread, spread + 1) + rng.integers(-spread // 3, spread // 3 + 1, 3)
    red, green, blue = np.clip(np.array(colour) + shift, 0, 255).tolist()
    return red, green, blue


def pole(board: Board, rng: np.random.Generator) -> None:
    """A thin post, some with a traffic light, some with a sign."""
    height = rng.uniform(3.0, 6.5)
    grey = near((118, 118, 116), rng, 34)
    board.box(0, 0, rng.uniform(0.10, 0.20), height, grey, POLE)
    kind = rng.random()
    if kind < 0.4:
        board.box(0, height - 1.0, 0.4, 1.0, (30, 32, 30), LIGHT)
        lamp = int(rng.integers(3))
        colours: list[Colour] = [(60, 220, 110), (245, 190, 50), (235, 50, 45)]
        board.ellipse(0, height - 0.83 + 0.33 * lamp, 0.28, 0.28, colours[lamp])
    elif kind < 0.8:
        _sign(board, rng, height)
    elif kind < 0.9:
        board.line([(0, height), (rng.choice([-1.6, 1.6]), height + 0.2)], 0.1, grey, POLE)


def _sign(board: Board, rng: np.random.Generator, height: float) -> None:
    size = rng.uniform(0.6, 0.95)
    shape = rng.integers(3)
    if shape == 0:
        board.ellipse(0, height - size / 2, size, size, near((205, 40, 40), rng), SIGN)
        board.ellipse(0, height - size / 2, 0.65 * size, 0.65 * size, (235, 235, 235))
    elif shape == 1:
        corners = [(-size / 2, height - size), (size / 2, height - size), (0.0, height)]
        board.polygon(corners, near((235, 205, 60), rng), SIGN)
    else:
        board.box(0, height - size, 1.2 * size, size, near((40, 80, 190), rng), SIGN)


def tree(board: Board, rng: np.random.Generator) -> None:
    """A trunk under a crown of several blobs; both are vegetation."""
    height = rng.uniform(3.5, 8.0)
    board.box(0, 0, rng.uniform(0.2, 0.4), 0.6 * height, near((88, 68, 50), rng), VEGETATION)
    green = near((66, 98, 48), rng, 28)
    for _ in range(int(rng.integers(4, 8))):
        u, v = rng.uniform(-0.22, 0.22) * height, rng.uniform(0.5, 0.9) * height
        board.ellipse(u, v, rng.uniform(0.25, 0.45) * height, rng.uniform(0.2, 0.35) * height, near(green, rng), VEGETATION)


def bush(board: Board, rng: np.random.Generator) -> None:
    """A low row of blobs."""
    green = near((72, 104, 50), rng, 28)
    for u in np.arange(-1.5, 1.6, 0.75).tolist():
        size = rng.uniform(1.0, 1.8)
        board.ellipse(u, size / 3, 1.3 * size, size, near(green, rng), VEGETATION)


def person(board: Board, rng: np.random.Generator) -> None:
    """Somebody on foot: two legs, a body, a head."""
    height = rng.uniform(1.2, 1.95)
    stride = rng.uniform(0.05, 0.3) * height
    trousers, coat = any_colour(rng, 20, 150), any_colour(rng)
    for foot in (-stride / 2, stride / 2):
        board.line([(0, 0.5 * height), (foot, 0)], 0.09 * height, trousers, PERSON)
    _torso(board, 0.0, 0.42 * height, height, coat, PERSON)
    board.ellipse(0, 0.93 * height, 0.12 * height, 0.15 * height, _SKIN, PERSON)


def _torso(board: Board, u: float, v: float, height: float, coat: Colour, class_id: int) -> None:
    board.polygon(
        [
            (u - 0.10 * height, v),
            (u + 0.10 * height, v),
            (u + 0.15 * height, v + 0.42 * height),
            (u - 0.15 * height, v + 0.42 * height),
        ],
        coat,
        class_id,
    )


def bicycle(board: Board, rng: np.random.Generator) -> None:
    """Two wheels and a frame, all thin; most have a rider."""
    paint = any_colour(rng, 20, 140)
    ridden = rng.random() < 0.75
    for u in (-0.52, 0.52):
        board.ring(u, 0.34, 0.68, 0.07, _TYRE, BICYCLE)
    board.line([(-0.52, 0.34), (-0.2, 0.75), (0.4, 0.75), (0.52, 0.34)], 0.07, paint, BICYCLE)
    board.line([(-0.2, 0.75), (0.0, 0.34), (0.4, 0.75), (0.42, 1.0)], 0.07, paint, BICYCLE)
    if ridden:
        _rider(board, rng, seat=0.85)


def motorcycle(board: Board, rng: np.random.Generator) -> None:
    """Two thick wheels and a heavy body between them; most have a rider with a helmet."""
    paint = any_colour(rng)
    for u in (-0.65, 0.65):
        board.ellipse(u, 0.32, 0.64, 0.64, _TYRE, MOTORCYCLE)
    board.polygon([(-0.75, 0.55), (-0.45, 0.3), (0.4, 0.3), (0.75, 0.8), (0.3, 1.0), (-0.8, 0.8)], paint, MOTORCYCLE)
    if rng.random() < 0.75:
        _rider(board, rng, seat=0.8, helmet=any_colour(rng))


def _rider(board: Board, rng: np.random.Generator, seat: float, helmet: Colour = _SKIN) -> None:
    coat, height = any_colour(rng), rng.uniform(1.6, 1.9)
    board.line([(-0.15, seat), (0.2, seat - 0.1), (0.05, 0.3)], 0.14, any_colour(rng, 20, 150), RIDER)
    _torso(board, 0.0, seat - 0.05, height, coat, RIDER)
    board.line([(0.05, seat + 0.5), (0.42, seat + 0.2)], 0.1, coat, RIDER)
    board.ellipse(0.1, seat + 0.78, 0.25, 0.28, helmet, RIDER)


def car(board: Board, rng: np.random.Generator) -> None:
    """From behind, or from the side."""
    paint = any_colour(rng)
    if rng.random() < 0.65:
        width, height = rng.uniform(1.65, 1.95), rng.uniform(1.35, 1.75)
        _wheels(board, (-0.38 * width, 0.38 * width), 0.22, 0.5, CAR)
        board.box(0, 0.25, width, 0.5 * height, paint, CAR)
        roof, sill = 0.36 * width, 0.46 * width
        middle = 0.25 + 0.5 * height
        board.polygon([(-sill, middle), (sill, middle), (roof, height), (-roof, height)], paint, CAR)
        board.polygon(
            [(-0.85 * sill, middle), (0.85 * sill, middle), (0.85 * roof, 0.95 * height), (-0.85 * roof, 0.95 * height)], _GLASS
        )
        for u in (-0.42 * width, 0.42 * width):
            board.box(u, 0.22 + 0.33 * height, 0.16, 0.16, (200, 30, 30))
        return
    length, height = rng.uniform(3.6, 4.9), rng.uniform(1.35, 1.6)
    middle = 0.6 * height
    board.box(0, 0.25, length, middle - 0.25, paint, CAR)
    cabin = [(-0.38 * length, middle), (0.3 * length, middle), (0.15 * length, height), (-0.28 * length, height)]
    board.polygon(cabin, paint, CAR)
    board.polygon([(0.88 * u, min(v, 0.95 * height)) for u, v in cabin], _GLASS)
    _wheels(board, (-0.32 * length, 0.32 * length), 0.62, 0.62, CAR)


def truck(board: Board, rng: np.random.Generator) -> None:
    """A tall plain box on wheels, with a lower cabin where it is seen from the side."""
    box, cabin = near((190, 188, 180), rng, 50), any_colour(rng)
    height = rng.uniform(2.8, 3.8)
    if rng.random() < 0.6:
        width = rng.uniform(2.2, 2.6)
        _wheels(board, (-0.36 * width, 0.36 * width), 0.45, 0.9, TRUCK)
        board.box(0, 0.7, width, height - 0.7, box, TRUCK)
        board.box(0, 0.8, 0.04, height - 1.0, near(box, rng, 40))
        return
    length = rng.uniform(6.0, 9.0)
    board.box(-0.12 * length, 0.6, 0.74 * length, height - 0.6, box, TRUCK)
    board.box(0.38 * length, 0.5, 0.22 * length, 0.7 * height - 0.5, cabin, TRUCK)
    board.box(0.42 * length, 0.45 * height, 0.12 * length, 0.2 * height, _GLASS)
    _wheels(board, (-0.4 * length, -0.25 * length, 0.36 * length), 0.95, 0.95, TRUCK)


def bus(board: Board, rng: np.random.Generator) -> None:
    """A tall box of one colour with a band of windows."""
    paint, height = any_colour(rng, 60), rng.uniform(2.9, 3.3)
    if rng.random() < 0.55:
        width = 2.5
        _wheels(board, (-0.9, 0.9), 0.35, 0.8, BUS)
        board.box(0, 0.35, width, height - 0.35, paint, BUS)
        board.box(0, 0.5 * height, 0.88 * width, 0.36 * height, _GLASS)
        board.box(0, 0.9 * height, 0.6 * width, 0.06 * height, (240, 180, 60))
        return
    length = rng.uniform(9.0, 12.0)
    board.box(0, 0.35, length, height - 0.35, paint, BUS)
    for u in np.linspace(-0.43, 0.43, 7).tolist():
        board.box(u * length, 0.48 * height, 0.115 * length, 0.36 * height, _GLASS)
    _wheels(board, (-0.33 * length, 0.3 * length), 0.9, 0.9, BUS)


def train(board: Board, rng: np.random.Generator) -> None:
    """A tram: longer and lower on its rails than a bus, two colours, a current collector on the roof."""
    paint, height = any_colour(rng, 60), rng.uniform(3.3, 3.7)
    long = rng.random() < 0.6
    width = rng.uniform(14.0, 22.0) if long else 2.6
    board.box(0, 0.1, width, height - 0.1, near((225, 222, 212), rng), TRAIN)
    board.box(0, 0.1, width, 0.4 * height, paint)
    panes = 11 if long else 1
    for u in np.linspace(-0.46, 0.46, panes).tolist() if long else [0.0]:
        board.box(u * width, 0.5 * height, 0.8 * width / panes, 0.33 * height, _GLASS)
    board.line([(-0.5, height), (0.3, height + 0.6), (-0.2, height + 1.2)], 0.08, (60, 60, 62), TRAIN)


def _wheels(board: Board, positions: tuple[float, ...], width: float, height: float, class_id: int) -> None:
    for u in positions:
        board.ellipse(u, height / 2, width, height, _TYRE, class_id)
