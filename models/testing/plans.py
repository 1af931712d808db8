"""What the suites read off plans."""

from __future__ import annotations

from models.networks.structure import INPUT, NetworkPlan


def without_sizes(plan: NetworkPlan) -> list[object]:
    """The steps, without what depends on the size of the image."""
    return [
        (s.name, s.sources, s.operator.kind, s.operator.source_channels, s.operator.out_channels, s.operator.stride)
        for s in plan.steps
    ]


def map_shapes_of(plan: NetworkPlan, image: tuple[int, int, int, int]) -> dict[str, tuple[int, int, int, int]]:
    """Shape of each step's output, the image included; fails where a step does not fit its sources."""
    shapes = {INPUT: image}
    for step in plan.steps:
        assert step.name not in shapes
        assert tuple(shapes[source] for source in step.sources) == step.operator.source_shapes, step.name
        shapes[step.name] = step.operator.output_shape
    return shapes
