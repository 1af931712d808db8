from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.operators.layers import build_operator
from models.operators.seeded_weights import POOL_SIZE, adopt_scales, fill, random_input, seeded
from models.spec.operators import OperatorSpec

SPEC = OperatorSpec(kind="conv3x3", in_channels=64, out_channels=32, height=8, width=8)


def _filled(seed_key: str, *, device: str = "meta") -> nn.Module:
    with torch.device(device):
        module = build_operator(SPEC)
    return fill(module, seed_key)


def test_weights_follow_from_the_seed_key_alone() -> None:
    """Also where they were before: a module made on the CPU ends up with the weights of one made on meta."""
    states = [_filled("a").state_dict(), _filled("a", device="cpu").state_dict()]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.weight"], _filled("b").state_dict()["conv1.weight"])


def test_weights_are_the_same_in_every_process_and_release() -> None:
    """When this fails, raise EXPORTER_VERSION: tables would otherwise mix engines of different weights."""
    weight = _filled("opclock").conv1.weight.flatten()[:3]
    torch.testing.assert_close(weight, torch.tensor([0.0210085548, 0.0775730461, 0.0233915932]), rtol=1e-5, atol=1e-8)


def test_convolutions_keep_the_size_of_signals() -> None:
    weight = _filled("a").conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert abs(weight.mean().item()) < 0.1 * weight.std().item()


def test_batch_normalisation_differs_from_the_identity_in_every_part() -> None:
    norm = _filled("a").bn1
    for values, neutral in ((norm.weight, 1), (norm.bias, 0), (norm.running_mean, 0), (norm.running_var, 1)):
        assert (values != neutral).all()
    assert (norm.running_var > 0.1).all()


def test_filled_modules_are_in_evaluation_mode_on_the_cpu() -> None:
    module = _filled("a")
    assert not module.training
    assert {tensor.device.type for tensor in module.state_dict().values()} == {"cpu"}


def test_tensors_larger_than_the_pool() -> None:
    """The stretch wraps around; the next tensor goes on where it ended."""
    values = random_input((POOL_SIZE + 5,), "a")
    assert np.array_equal(values[:5], values[POOL_SIZE:])
    assert len(np.unique(values[:1000])) > 990


def test_inputs_are_standard_normal_and_unlike_the_weights_of_the_same_key() -> None:
    array = random_input((2, 64, 32, 32), "a")
    assert array.dtype == np.float32
    assert abs(array.mean()) < 0.02
    assert array.std() == pytest.approx(1, rel=0.02)
    weight = _filled("a").conv1.weight.detach().numpy().ravel()
    assert abs(np.corrcoef(array.ravel()[: weight.size], weight)[0, 1]) < 0.05


def test_a_layer_whose_weights_would_stay_unset_is_refused() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.PReLU())
    with pytest.raises(TypeError, match="PReLU"):
        fill(module, "a")


def test_a_layer_without_a_rule_keeps_the_weights_it_was_made_with() -> None:
    made = []
    for _ in range(2):
        with seeded("a"):
            made.append(fill(nn.Sequential(nn.Conv2d(3, 4, 1), nn.MultiheadAttention(4, 2)), "a"))
    first, second = (module.state_dict() for module in made)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["1.in_proj_weight"].any()


def test_arrays_are_not_views_of_the_pool() -> None:
    first = random_input((8,), "a")
    first[:] = 0
    assert random_input((8,), "a").any()


class _Doubled(nn.Module):
    """A map's sum with itself, several times over."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(8):
            x = x + x
        return x


@pytest.mark.parametrize("size", [1, 16])
def test_batch_normalisations_take_the_scale_of_their_maps(size: int) -> None:
    """Maps of one pixel, too."""
    module = fill(nn.Sequential(nn.Conv2d(3, 64, 1), _Doubled(), nn.BatchNorm2d(64)), "key")
    x = torch.from_numpy(random_input((1, 3, size, size), "key"))
    with torch.no_grad():
        assert float(module(x).square().mean()) > 10_000
        adopt_scales(module, x)
        assert float(module(x).square().mean()) == pytest.approx(1, rel=0.2)


def test_a_map_of_zeros_leaves_numbers() -> None:
    norm = fill(nn.Sequential(nn.BatchNorm2d(2)), "key")
    adopt_scales(norm, torch.zeros(1, 2, 4, 4))
    assert torch.isfinite(norm(torch.zeros(1, 2, 4, 4))).all()
