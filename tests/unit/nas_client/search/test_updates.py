"""Which loss reaches which parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from models.spec.architectures import SpaceSpec
from nas_client.data.transforms import Batch
from nas_client.search.learner import Learner
from nas_client.search.progress import RngKey, Stream
from tests.support.searches import SMALL, prepared, small, small_table
from tests.support.toy_space import ToySpace

PLACE = RngKey(seed=5, phase=1)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    return Batch(images, torch.randint(19, (2, 64, 64), generator=generator))


def architecture_gradients(run: Learner, role: str, batch: Batch) -> Sequence[Tensor]:
    run.architecture_updates[role](batch, PLACE, "here")
    gradients = [tensor.grad for tensor in run.networks[role].optimized]
    return [gradient for gradient in gradients if gradient is not None]


def latency_gradients(run: Learner) -> Sequence[Tensor]:
    network = run.networks["student"]
    loss = run.latency(network.logits, PLACE.seed_of(Stream.LATENCY))
    return torch.autograd.grad(loss, network.optimized)


def weights_of(run: Learner) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in run.supernet.named_parameters()}


@pytest.mark.parametrize("mode", ["decoupled", "naive"])
@pytest.mark.parametrize("widths", ["expected", "gumbel"])
def test_the_students_parameters_get_both_losses(batch: Batch, mode: str, widths: str) -> None:
    changes = {"latency__factor": 0.5, "latency__weights": (0.2, 0.3, 0.5), "latency__widths": widths}
    run = prepared(small(latency__mode=mode, **changes))
    added = latency_gradients(run)
    both = architecture_gradients(run, "student", batch)
    without = architecture_gradients(prepared(small(latency__mode="none")), "student", batch)
    assert len(both) == 3
    for name, total, alone, latency in zip(("alpha", "beta", "gamma"), both, without, added, strict=True):
        assert alone.any(), f"{name} gets nothing from the segmentation loss"
        assert latency.any(), f"{name} gets nothing from the latency"
        torch.testing.assert_close(total, alone + 0.5 * latency)


def test_the_teachers_parameters_get_the_segmentation_loss_alone(batch: Batch) -> None:
    found = [
        architecture_gradients(prepared(small(latency__mode=mode, latency__factor=100.0)), "teacher", batch)
        for mode in ("naive", "none")
    ]
    assert len(found[0]) == 2, "a teacher has no γ"
    for with_latency, without in zip(*found, strict=True):
        assert without.any()
        torch.testing.assert_close(with_latency, without, rtol=0, atol=0)


def test_weights_never_get_the_latency_loss(batch: Batch) -> None:
    """A whole step with an enormous latency loss and one without leave the same weights but for what α, β, γ changed: nothing,
    as weights come first."""
    stepped = []
    for mode in ("naive", "none"):
        run = prepared(small(latency__mode=mode, latency__factor=1e4))
        before = weights_of(run)
        run.step([batch, batch], PLACE, "here", step=0, steps=1)
        after = weights_of(run)
        assert any(not torch.equal(before[name], after[name]) for name in before)
        stepped.append(after)
    for name, weight in stepped[0].items():
        assert torch.equal(weight, stepped[1][name]), name


def test_an_architecture_update_leaves_weights_and_their_gradients_alone(batch: Batch) -> None:
    run = prepared()
    before = weights_of(run)
    for role in run.networks:
        architecture_gradients(run, role, batch)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(run).items())
    assert all(weight.grad is None for weight in run.supernet.parameters())


def test_a_weight_update_leaves_architectures_alone(batch: Batch) -> None:
    run = prepared()
    run.start_phase("pretrain")
    run.step([batch], PLACE, "here", step=0, steps=1)
    for network in run.networks.values():
        assert all(tensor.grad is None for tensor in network.optimized)


def test_an_update_of_a_role_leaves_the_other_roles_parameters_alone(batch: Batch) -> None:
    run = prepared()
    before = [tensor.detach().clone() for tensor in run.networks["student"].optimized]
    architecture_gradients(run, "teacher", batch)
    for tensor, old in zip(run.networks["student"].optimized, before, strict=True):
        assert torch.equal(tensor, old)
        assert tensor.grad is None


def test_the_same_place_draws_the_same(batch: Batch) -> None:
    first, again = (architecture_gradients(prepared(), "student", batch) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_widths_of_the_passes() -> None:
    run = prepared()
    rows = len(run.networks["student"].logits.gamma)
    searching = [mixture.widths for mixture in run.mixtures("student", PLACE)]
    assert searching[:2] == [(1,) * rows, (0,) * rows]
    assert len(searching) == 3
    assert [mixture.widths for mixture in run.mixtures("teacher", PLACE)] == [(1,) * rows]
    run.start_phase("pretrain")
    assert len(list(run.mixtures("student", PLACE))) == 3


def test_widths_that_the_first_search_decided_are_the_only_ones_trained() -> None:
    run = prepared(small(second={**SMALL["search"], "searches": ["alpha", "beta"]}))
    run.start_phase("second")
    student = run.networks["student"]
    with torch.no_grad():
        student.logits.gamma[:, 1] = 0.5
        student.logits.gamma[::2, 0] = 1.0
    widths = [mixture.widths for mixture in run.mixtures("student", PLACE)]
    assert widths == [student.most_probable_widths().widths]
    assert set(widths[0]) == {0, 1}
    assert [set(mixture.widths) for mixture in run.mixtures("teacher", PLACE)] == [{1}], "a teacher has the widest"


@pytest.mark.parametrize("widths", ["expected", "gumbel"])
def test_each_phase_samples_widths_at_its_own_temperature(batch: Batch, widths: str) -> None:
    def gradients(first: float, second: float) -> Sequence[Tensor]:
        changes = {"search__temperature": first, "second": {**SMALL["search"], "temperature": second}}
        run = prepared(small(latency__widths=widths, latency__factor=0.5, **changes))
        run.start_phase("second")
        return [*latency_gradients(run), *architecture_gradients(run, "student", batch)]

    mine, hot, cold = gradients(0.5, 2.0), gradients(2.0, 2.0), gradients(0.5, 0.5)
    assert all(torch.equal(one, other) for one, other in zip(mine, hot, strict=True))
    of_latency, of_both = 2, 5  # in γ
    assert not torch.equal(mine[of_both], cold[of_both])
    assert torch.equal(mine[of_latency], cold[of_latency]) is (widths == "expected")


def test_a_space_without_widths_trains_one_pass_a_step() -> None:
    """Narrowest, widest and sampled connections would be one mixture, three times."""
    toy = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(64, 64), classes=19)).spec
    run = prepared(table=small_table(toy))
    for phase in ("search", "pretrain"):
        run.start_phase(phase)
        assert [mixture.widths for mixture in run.mixtures("network", PLACE)] == [()]


def test_a_space_of_one_width_trains_one_pass_a_step() -> None:
    """As the rows of an ablation without widths."""
    space = SpaceSpec(name="fasterseg", input_size=(64, 64), parameters={"layers": 5, "widths": [8]})
    run = prepared(table=small_table(space))
    assert not run.networks["student"].searches_widths
    assert len(list(run.mixtures("student", PLACE))) == 1


def test_without_a_segmentation_loss_latency_has_no_share_of_it() -> None:
    run = prepared()
    losses = {"architecture_student": 0.5, "latency": 4.0}
    heads = len(run.passes.alternatives)
    assert run.latency_ratio(losses) == pytest.approx(run.factor.value * 4.0 / (0.5 * heads))
    assert run.latency_ratio({**losses, "architecture_student": 0.0}) is None


def test_architecture_parameters_follow_a_schedule_of_their_own(batch: Batch) -> None:
    """At the last step of ten the cosine has fallen to a fortieth; the weights' rate stays."""
    changes = {"search__optimizer__schedule": "constant", "search__architecture__schedule": "cosine"}
    run = prepared(small(**changes))
    run.step([batch, batch], PLACE, "here", step=9, steps=10)
    state = run.state()
    rates = [state["architecture_optimizers"][role]["param_groups"][0]["lr"] for role in ("student", "teacher")]
    assert rates == pytest.approx([3e-4 * (1 + math.cos(0.9 * math.pi)) / 2] * 2)
    assert state["weight_optimizer"]["param_groups"][0]["lr"] == 0.01
