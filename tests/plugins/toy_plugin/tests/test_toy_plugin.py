"""What every search space, operator kind, data set and backend must do, on this plugin's."""

from toy_plugin.backend import WarmOptions
from toy_plugin.space import KINDS

from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.testing import OperatorSuite, SmallSpaceSuite
from nas_client.data.base import DataSettings
from nas_client.testing import DatasetSuite
from profiler_service.testing import BackendSuite


class TestLeaf(SmallSpaceSuite):
    spec = SpaceSpec(name="leaf", input_size=(16, 24), classes=3)

    def architectures(self, space, choices):
        kinds = tuple(KINDS[row.index(1)] for row in choices.alpha)
        return [ArchitectureSpec(space="leaf", input_size=(16, 24), classes=3, genotype={"operators": kinds})]

    def charged(self, space, architecture):
        return list(space.architecture_operators(architecture))[:-2]  # without the head


class TestDepthwiseSeparable(OperatorSuite):
    kind = "depthwise_separable"


class TestDiscs(DatasetSuite):
    settings = DataSettings(name="discs", image_size=(32, 48), train_images=4, val_images=2, test_images=2)


class TestWarmTorch(BackendSuite):
    name = "warm_torch"
    options = WarmOptions(device="cpu", warm_runs=2)
