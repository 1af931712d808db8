"""The operator kind as a torch module."""

from torch import Tensor, nn

from models.operators.layers import conv2d
from models.spec.operators import OperatorSpec


class DepthwiseSeparable(nn.Module):
    """A convolution of each channel by itself, then a 1×1 convolution; added to the input where the shapes allow it."""

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        channels = spec.in_channels
        kernel = int(spec.attributes["kernel"])
        self.depthwise = conv2d(channels, channels, kernel, stride=spec.stride, groups=channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = conv2d(channels, spec.out_channels, 1)
        self.bn2 = nn.BatchNorm2d(spec.out_channels)
        self.relu = nn.ReLU()
        self.residual = spec.input_shape == spec.output_shape

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.pointwise(self.relu(self.bn1(self.depthwise(x)))))
        return self.relu(x + y if self.residual else y)
