"""The suite of what every search space must satisfy, on M-FasterSeg with attention in several places."""

from __future__ import annotations

from models.spaces.mfasterseg.parameters import AttentionParameters, with_attention
from models.spaces.mfasterseg.space import MFasterSegSpace
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.operators import OperatorSpec
from models.testing import SmallSpaceSuite
from models.testing.graph_reference import Probabilities
from tests.contract.test_spaces import FasterSegSuite


class MFasterSegSuite(FasterSegSuite):
    def architectures(self, space: MFasterSegSpace, choices: Probabilities) -> list[ArchitectureSpec]:
        attention = AttentionParameters.of_space(space.parameters)
        plain = (one.model_copy(update={"space": space.name}) for one in super().architectures(space, choices))
        return [with_attention(one, attention) for one in plain]

    def charged(self, space: MFasterSegSpace, architecture: ArchitectureSpec) -> list[OperatorSpec]:
        attended = [step.operator for step in space.plan(architecture).steps if step.name.startswith("branch0_end")]
        return [*super().charged(space, architecture), *attended]


class TestMFasterSeg(MFasterSegSuite):
    spec = SpaceSpec(name="mfasterseg", input_size=(64, 128))


class TestMFasterSegOfThreeLayers(MFasterSegSuite, SmallSpaceSuite):
    """Attention on branches, and other weights of it than the defaults. What the supernet lacks, attention on the fused map, is
    left out: the two are compared.
    """

    spec = SpaceSpec(
        name="mfasterseg",
        input_size=(32, 64),
        classes=3,
        batch=2,
        parameters={
            "layers": 3,
            "base_channels": 6,
            "widths": (4, 7),
            "fused_attention": 0,
            "rounds": 1,
            "reduction": 4,
            "shared": 0,
        },
    )
    spread = 1.3  # half the channels, and attention in every network
