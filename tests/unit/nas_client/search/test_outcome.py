"""What is told of the networks that a search's parameters decode to."""

from __future__ import annotations

import pytest
import torch

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from nas_client.search.outcome import Decoder
from nas_client.search.relaxed_network import RelaxedNetwork
from nas_client.table import LookupTable
from tests.support.fake_service import make_table

SPACES = {
    "skip": SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"layers": 5}),
    "identity": SpaceSpec(name="rspnet", input_size=(64, 64), parameters={"layers": 3}),
    "skip_connect": SpaceSpec(name="search_net", input_size=(64, 64)),
}


@pytest.mark.parametrize("idle", SPACES)
def test_cells_that_compute_nothing_are_counted(idle: str) -> None:
    space = create_space(SPACES[idle])
    role = next(role for role in space.roles() if not role.widest)
    network = RelaxedNetwork(space.parameter_shapes(), space.initial_logits(), role=role, deviation=0.0, seed=0, device="cpu")
    decoder = Decoder(space, LookupTable(make_table(space.spec)), space.decode_options())
    names = list(space.choice_names()["alpha"])
    for chosen in names:
        with torch.no_grad():
            network.logits.alpha[:, names.index(chosen)] += 5.0
        shares = [one.skip_share for one in decoder.decoded(network)]
        assert shares == [float(chosen == idle)] * len(space.alternatives())
        with torch.no_grad():
            network.logits.alpha[:, names.index(chosen)] -= 5.0


def test_the_share_of_the_narrowest_connections() -> None:
    space = create_space(SPACES["skip"])
    network = RelaxedNetwork(
        space.parameter_shapes(), space.initial_logits(), role=space.role("student"), deviation=0.0, seed=0, device="cpu"
    )
    decoder = Decoder(space, LookupTable(make_table(space.spec)), space.decode_options())
    for width in range(network.logits.gamma.shape[1]):
        with torch.no_grad():
            network.logits.gamma.fill_(0.0)[:, width] = 5.0
        assert {one.narrowest_share for one in decoder.decoded(network)} == {float(width == 0)}
