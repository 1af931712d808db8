"""The suite of what every search space must satisfy, on RSPNet with and without half-channel stages."""

from __future__ import annotations

from models.networks.graph_plan import GraphChoices
from models.spaces.rspnet.genotype import RspNetGenotype
from models.spaces.rspnet.space import RspNetSpace
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.operators import OperatorSpec
from models.testing import SmallSpaceSuite, SpaceSuite
from models.testing.graph_reference import Probabilities

HEAD = 3


class RspNetSuite(SpaceSuite):
    def architectures(self, space: RspNetSpace, choices: Probabilities) -> list[ArchitectureSpec]:
        chosen = GraphChoices(*(tuple(row.index(1) for row in rows) for rows in (choices.alpha, choices.beta)))
        genotype = RspNetGenotype.from_choices(chosen, space.parameters)
        fields = space.spec.model_dump(include={"input_size", "classes", "batch", "dtype", "parameters"})
        return [ArchitectureSpec(space="rspnet", genotype=genotype.model_dump(mode="json"), **fields)]

    def charged(self, space: RspNetSpace, architecture: ArchitectureSpec) -> list[OperatorSpec]:
        return list(space.architecture_operators(architecture))[:-HEAD]


class TestRspNet(RspNetSuite):
    """All four scales, cells stacked."""

    spec = SpaceSpec(name="rspnet", input_size=(64, 96), parameters={"layers": 1, "stack": 3, "base_width": 4, "stem_width": 4})
    spread = 1.5  # so small, stem and head weigh more


class TestTwoScales(RspNetSuite, SmallSpaceSuite):
    spec = SpaceSpec(
        name="rspnet",
        input_size=(32, 64),
        classes=3,
        parameters={"layers": 2, "stack": 1, "base_width": 4, "stem_width": 6, "scales": 2},
    )


class TestHalfChannels(RspNetSuite, SmallSpaceSuite):
    spec = SpaceSpec(
        name="rspnet",
        input_size=(32, 64),
        classes=3,
        batch=2,
        parameters={"layers": 1, "stack": 1, "part": 2, "base_width": 6, "stem_width": 6, "scales": 2},
    )
    spread = 1.2
