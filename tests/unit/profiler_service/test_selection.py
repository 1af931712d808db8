"""Parts of a grid: nothing is lost between shares, and a sample is repeatable."""

from __future__ import annotations

import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.graphs import ContextBase
from profiler_service.selection import draw, most_shares, share

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(64, 64)))


@pytest.mark.parametrize("of", [1, 2, 8, 12])
def test_shares_are_all_of_the_grid_once(of: int) -> None:
    shares = [share(SPACE, number, of) for number in range(1, of + 1)]
    keys = [operator.key() for operators in shares for operator in operators]
    assert sorted(keys) == sorted(operator.key() for operator in SPACE.operators())


def test_shares_are_about_equal_and_have_their_bases_to_themselves() -> None:
    shares = [share(SPACE, number, 4) for number in range(1, 5)]
    sizes = [len(operators) for operators in shares]
    assert max(sizes) < 1.2 * min(sizes)
    bases = [{ContextBase.of(operator).key() for operator in operators} for operators in shares]
    assert sum(map(len, bases)) == len(set().union(*bases))


def test_every_share_has_operators_of_several_scales() -> None:
    for number in range(1, 5):
        assert len({operator.height for operator in share(SPACE, number, 4)}) >= 2


@pytest.mark.parametrize(("number", "of"), [(0, 2), (3, 2), (1, 1000), (1, 0)])
def test_a_share_that_cannot_be_is_refused(number: int, of: int) -> None:
    with pytest.raises(InvalidSpecError, match=f"share {number}/{of}: "):
        share(SPACE, number, of)


def test_the_most_shares_are_possible_and_one_more_is_not() -> None:
    most = most_shares(SPACE)
    assert all(share(SPACE, number, most) for number in range(1, most + 1))
    with pytest.raises(InvalidSpecError, match=f"in 1 to {most} shares"):
        share(SPACE, 1, most + 1)


def test_a_sample_has_no_operator_twice() -> None:
    assert len({operator.key() for operator in draw(SPACE, 50, 0)}) == 50


@pytest.mark.parametrize("count", [0, 100_000])
def test_a_sample_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(InvalidSpecError, match=f"sample: {count} operators of"):
        draw(SPACE, count, 0)
