"""The operator kinds as data. No torch: the service's own process reads this."""

from models.spec.bounds import Bounds
from models.spec.kinds import KindInfo


def of_attention(sizes):
    """Two 1×1 convolutions, and two products of every pixel with every other; the largest map inside weighs each pair."""
    channels, pixels, batch = sizes.out_channels, sizes.out_pixels, sizes.batch
    pairs = batch * pixels * pixels
    weights = 2 * channels * channels + 2 * channels
    return Bounds(weights=weights, inner=pairs, macs=2 * pairs * channels + batch * pixels * weights)


ATTENTION = KindInfo(
    "attention", strides=(1,), keeps_channels=True, bounds=of_attention, builder="dag_plugin.modules:Attention"
)
SWEEP = KindInfo("sweep", strides=(1,), keeps_channels=True, builder="dag_plugin.modules:Sweep")
