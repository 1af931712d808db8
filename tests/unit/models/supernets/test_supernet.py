"""What a supernet computes, what it leaves out, and where gradients go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.spaces.base import SearchSpace
from models.spec.errors import InvalidSpecError
from models.supernets.cells import edge_probabilities, leading_edges
from models.supernets.mixed_operators import MixedOperator
from models.supernets.multi_resolution import MultiResolutionSupernet
from models.testing.supernets import Logits


@contextmanager
def calls(supernet: nn.Module, kind: type[nn.Module]) -> Iterator[Counter[str]]:
    """Counts, by name, the modules of that class that run."""
    counted: Counter[str] = Counter()
    handles = []
    for name, module in supernet.named_modules():
        if isinstance(module, kind):

            def count(_module: nn.Module, _inputs: object, name: str = name) -> None:
                counted[name] += 1

            handles.append(module.register_forward_pre_hook(count))
    yield counted
    for handle in handles:
        handle.remove()


def test_every_combination_predicts_at_the_images_size(
    supernet: MultiResolutionSupernet, logits: Logits, images: Tensor
) -> None:
    predictions = supernet(images, logits.mixture(), role="student", auxiliary=True)
    assert list(predictions.combined) == ["8", "16", "32", "8,16", "8,32", "16,32"] == list(supernet.alternatives)
    assert list(predictions.auxiliary) == [16, 32]
    for scores in (*predictions.combined.values(), *predictions.auxiliary.values()):
        assert scores.shape == (2, 4, 64, 96)


def test_predictions_at_the_size_of_the_scores_are_those_before_the_resize(
    supernet: MultiResolutionSupernet, logits: Logits, images: Tensor
) -> None:
    supernet.eval()
    coarse = supernet(images, logits.mixture(), role="student", auxiliary=True, size=(8, 12))
    fine = supernet(images, logits.mixture(), role="student", auxiliary=True)
    assert coarse.combined["8,16"].shape == (2, 4, 8, 12)
    assert coarse.auxiliary[32].shape == (2, 4, 8, 12)
    for branches, scores in coarse.combined.items():
        resized = nn.functional.interpolate(scores, (64, 96), mode="bilinear", align_corners=True)
        torch.testing.assert_close(resized, fine.combined[branches])


def test_auxiliary_predictions_are_made_on_request(supernet: MultiResolutionSupernet, logits: Logits, images: Tensor) -> None:
    assert not supernet(images, logits.mixture(), role="student").auxiliary


def test_crops_of_other_sizes(supernet: MultiResolutionSupernet, logits: Logits) -> None:
    predictions = supernet(torch.randn(2, 3, 96, 160), logits.mixture(), role="teacher", alternatives=["8,32"])
    assert predictions.combined["8,32"].shape == (2, 4, 96, 160)


def test_a_combination_is_predicted_alike_alone_and_among_others(
    supernet: MultiResolutionSupernet, logits: Logits, images: Tensor
) -> None:
    supernet.eval()
    together = supernet(images, logits.mixture(), role="student").combined
    for branches in supernet.alternatives:
        alone = supernet(images, logits.mixture(), role="student", alternatives=[branches]).combined
        assert list(alone) == [branches]
        torch.testing.assert_close(alone[branches], together[branches])


def test_only_the_chosen_width_runs(supernet: MultiResolutionSupernet, logits: Logits, images: Tensor) -> None:
    mixture = replace(logits.mixture(), widths=(1,) * len(logits.gamma))
    with calls(supernet.cells, nn.BatchNorm2d) as norms:
        supernet(images, mixture, role="student")
    by_operator = Counter(name.rsplit(".norms.", 1)[0] for name in norms)
    assert set(by_operator.values()) == {1}, "an operator ran at two widths"
    assert max(norms.values()) == 1


def test_only_cells_on_the_way_to_the_asked_branches_run(
    supernet: MultiResolutionSupernet, logits: Logits, images: Tensor
) -> None:
    """For the branch at 1/8 those at 1/8; for 1/32 none that only lead to another end; and no head of another branch."""
    with calls(supernet.cells, MixedOperator) as finest:
        supernet(images, logits.mixture(), role="student", alternatives=["8"])
    assert len(finest) == 5
    with calls(supernet.cells, MixedOperator) as coarsest, calls(supernet.heads, nn.Conv2d) as convolutions:
        supernet(images, logits.mixture(), role="student", alternatives=["32"])
    assert len(coarsest) == 2 + 3 + 2 + 3 + 3  # at 1/8, down to 1/16, at 1/16, down to 1/32, at 1/32
    parts = {".".join(name.split(".")[:3]) for name in convolutions}
    assert parts == {"student.ways_back.32", "student.fusion.32", "student.classifier.32"}


def test_roles_share_cells_and_nothing_else(supernet: MultiResolutionSupernet, logits: Logits, images: Tensor) -> None:
    used = {}
    for role in supernet.roles:
        supernet.zero_grad()
        widest = replace(logits.mixture(), widths=(2,) * len(logits.gamma), scores=None)
        sum(p.square().mean() for p in supernet(images, widest, role=role).combined.values()).backward()
        used[role] = {name for name, parameter in supernet.named_parameters() if parameter.grad is not None}
    shared = used["student"] & used["teacher"]
    kernels = {f"cells.{name}" for name, _ in supernet.cells.named_parameters() if "conv" in name}
    assert kernels <= shared
    assert all(name.startswith("cells.") for name in shared)
    assert {name.split(".")[1] for name in used["student"] - shared if not name.startswith("cells.")} == {"student"}
    assert {name.split(".")[1] for name in used["teacher"] - shared if not name.startswith("cells.")} == {"teacher"}


def test_every_parameter_gets_a_gradient(supernet: MultiResolutionSupernet, logits: Logits, images: Tensor) -> None:
    predictions = supernet(images, logits.mixture(), role="student", auxiliary=True)
    sum(p.square().mean() for p in (*predictions.combined.values(), *predictions.auxiliary.values())).backward()
    for name in ("alpha", "beta", "gamma"):
        gradient = getattr(logits, name).grad
        assert gradient.isfinite().all()
        assert gradient.abs().sum(1).gt(0).all(), name
    kernels = {name: p.grad for name, p in supernet.cells.named_parameters() if "conv" in name}
    assert all(gradient is not None and gradient.any() for gradient in kernels.values())


def test_gradients_of_probabilities_are_those_of_finite_differences(
    supernet: MultiResolutionSupernet, logits: Logits, images: Tensor
) -> None:
    """In float64, α and β as such and each score around 1."""
    supernet.double().eval()
    mixture = logits.mixture()
    assert mixture.scores is not None
    free = [t.detach().double().requires_grad_() for t in (mixture.alpha, mixture.beta, mixture.scores)]

    def loss(alpha: Tensor, beta: Tensor, scores: Tensor) -> Tensor:
        given = replace(mixture, alpha=alpha, beta=beta, scores=scores)
        return supernet(images.double(), given, role="student", alternatives=["16,32"]).combined["16,32"].square().mean()

    gradients = torch.autograd.grad(loss(*free), free)
    generator = torch.Generator().manual_seed(3)
    for index, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        ends = []
        for step in (1e-5, -1e-5):
            moved = [t.detach() + step * direction if i == index else t.detach() for i, t in enumerate(free)]
            ends.append(loss(*moved))
        assert (gradient * direction).sum().item() == pytest.approx((ends[0] - ends[1]).item() / 2e-5, rel=1e-4)


def test_widths_without_scores_leave_the_value_alone(supernet: MultiResolutionSupernet, logits: Logits, images: Tensor) -> None:
    supernet.eval()
    mixture = logits.mixture()
    scored = supernet(images, mixture, role="student").combined["8,32"]
    bare = supernet(images, replace(mixture, scores=None), role="student").combined["8,32"]
    torch.testing.assert_close(scored, bare, rtol=0, atol=0)


def test_gamma_at_both_ends_changes_gradients_alone(supernet: MultiResolutionSupernet, logits: Logits, images: Tensor) -> None:
    """A map's factor then stands at every edge that enters or leaves it, so that what reaches γ is another sum."""
    supernet.eval()
    one = logits.mixture()
    values, gradients = [], []
    for mixture in (one, replace(one, both_ends=True)):
        value = supernet(images, mixture, role="student", alternatives=["16,32"]).combined["16,32"]
        values.append(value)
        gradients.append(torch.autograd.grad(value.square().mean(), logits.gamma, retain_graph=True)[0])
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=0)
    assert not torch.allclose(gradients[0], gradients[1])


def test_a_branch_takes_one_path(space: SearchSpace, logits: Logits) -> None:
    """The probabilities of the edges into and out of a node agree, and a branch leaves each scale once."""
    graph = space.latency_graph()
    beta = logits.beta.softmax(-1)
    for end in graph.outputs or ():
        on_edge = edge_probabilities(graph, end, beta)
        assert list(on_edge) == leading_edges(graph, [end])[::-1]
        leaving_entry = sum(p for i, p in on_edge.items() if graph.edges[i].source == 0)
        torch.testing.assert_close(torch.as_tensor(leaving_entry), torch.tensor(1.0))
        by_scale: Counter[int] = Counter()
        for index, p in on_edge.items():
            operator = graph.edges[index].operators[0][0][0]
            if operator.stride == 2:
                by_scale[operator.height] += p.item()
        assert all(total == pytest.approx(1) for total in by_scale.values())


def test_state_survives_a_checkpoint(
    space: SearchSpace, supernet: MultiResolutionSupernet, logits: Logits, images: Tensor
) -> None:
    supernet.eval()
    again = space.supernet()
    again.load_state_dict(supernet.state_dict())
    expected, found = (net.eval()(images, logits.mixture(), role="teacher").combined["16,32"] for net in (supernet, again))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_scales_that_the_graph_does_not_have(space: SearchSpace) -> None:
    with pytest.raises(InvalidSpecError, match="8, 16"):
        MultiResolutionSupernet({"student": space.latency_graph()}, scales=(8, 16), classes=4)


def test_a_cell_that_there_is_not(supernet: MultiResolutionSupernet) -> None:
    with pytest.raises(InvalidSpecError, match="layer 4 and scale 8 has stride 2"):
        supernet.cell(4, 8, 2)
