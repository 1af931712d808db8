"""The operator kind as data. No torch: the service's own process reads this."""

from models.spec.kinds import Attribute, KindInfo

DEPTHWISE_SEPARABLE = KindInfo(
    "depthwise_separable",
    {"kernel": Attribute(3, choices=(3, 5))},
    builder="toy_plugin.modules:DepthwiseSeparable",
)
