"""What is read off plans without torch."""

from __future__ import annotations

import pytest

from models.networks.structure import downsample_rate


@pytest.mark.parametrize("image", [(1024, 2048), (720, 960), (720, 1280), (40, 72), (64, 96)])
@pytest.mark.parametrize("rate", [1, 2, 4, 8, 16, 32])
def test_a_maps_rate_is_found_from_its_rounded_size(image: tuple[int, int], rate: int) -> None:
    assert downsample_rate(image, (-(-image[0] // rate), -(-image[1] // rate))) == rate


def test_rates_that_are_no_powers_of_two() -> None:
    assert downsample_rate((90, 120), (30, 40)) == 3
    assert downsample_rate((64, 64), (9, 40)) == 7  # of no one rate: the heights' ratio
