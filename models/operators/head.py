"""What turns the branches' feature maps into class scores."""

from __future__ import annotations

from torch import Tensor, nn

from models.operators.convolution import ConvBnRelu, conv2d
from models.operators.registry import register
from models.spec.operators import OperatorSpec

WIDEST_MID_CHANNELS = 256


@register("feature_fusion")
def _feature_fusion(spec: OperatorSpec) -> nn.Module:
    """1×1 convolution, batch normalisation, ReLU over the concatenated branches.

    Source: FasterSeg §3.4; the attention of its published module is not used at inference.
    """
    return ConvBnRelu(spec.in_channels, spec.out_channels, kernel=1)


@register("segmentation_head")
class SegmentationHead(nn.Module):
    """3×3 convolution, batch normalisation, ReLU, then a 1×1 convolution with bias to the classes.

    The channels in between are the input's up to `WIDEST_MID_CHANNELS`, half of the input's above.

    Shape: input (N, in_channels, H, W); output (N, out_channels, H, W), out_channels being the classes.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        narrow = spec.in_channels <= WIDEST_MID_CHANNELS
        mid_channels = spec.in_channels if narrow else spec.in_channels // 2
        self.conv1 = conv2d(spec.in_channels, mid_channels)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.relu = nn.ReLU(inplace=True)
        self.classify = nn.Conv2d(mid_channels, spec.out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classify(self.relu(self.bn1(self.conv1(x))))
        return y
