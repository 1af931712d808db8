"""Published segmentation networks as plain modules, to measure found ones against on one clock (docs/own-network.md).

Each takes (N, channels, H, W) and gives logits of the same height and width. Weights are random.
"""

from models.networks.baselines.bisenet import BiSeNet
from models.networks.baselines.enet import ENet
from models.networks.baselines.fast_scnn import FastSCNN
from models.networks.baselines.icnet import ICNet
from models.networks.baselines.unet import UNet

__all__ = ["BiSeNet", "ENet", "FastSCNN", "ICNet", "UNet"]
