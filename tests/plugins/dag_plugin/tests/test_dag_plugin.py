"""What every search space and operator kind must do, on this plugin's."""

from dag_plugin.space import PAIRS, ROWS

from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.testing import OperatorSuite, SmallSpaceSuite


class TestLattice(SmallSpaceSuite):
    spec = SpaceSpec(name="lattice", input_size=(16, 24), classes=3)
    spread = 1.2

    def architectures(self, space, choices):
        kinds = [row[chosen.index(1)] for row, chosen in zip(ROWS, choices.alpha, strict=True)]
        genotype = {"operators": kinds, "pair": list(PAIRS[choices.beta[0].index(1)])}
        return [ArchitectureSpec(space="lattice", input_size=(16, 24), classes=3, genotype=genotype)]

    def charged(self, space, architecture):
        return list(space.architecture_operators(architecture))[:-2]  # without the head


class TestAttention(OperatorSuite):
    kind = "attention"


class TestSweep(OperatorSuite):
    kind = "sweep"
