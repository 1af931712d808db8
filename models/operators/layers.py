"""Torch modules of the operator kinds; `models.spec.kinds` says which makes which."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from models.plugins import load_reference
from models.spec.kinds import KindInfo, kind_info
from models.spec.operators import OperatorSpec

Builder = Callable[[OperatorSpec], nn.Module]


def build_operator(spec: OperatorSpec) -> nn.Module:
    """The operator's module, with weights as torch initialises them, on torch's current default device.

    Under `torch.device("meta")` the module has no weights and costs next to nothing; `models.operators.seeded_weights.fill`
    then gives it some.

    Shape: input `spec.input_shape`; output `spec.output_shape`.

    Raises:
        UnknownNameError: nothing builds that kind.
        PluginError: its module cannot be imported.
    """
    return _builder(kind_info(spec.kind))(spec)


_builders: dict[str, Builder] = {}


def _builder(info: KindInfo) -> Builder:
    """What makes modules of that kind, by its reference."""
    if info.builder not in _builders:
        _builders[info.builder] = load_reference(info.builder, f"the module of operator kind {info.name!r}")
    return _builders[info.builder]


def conv2d(
    in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """A convolution without bias, as batch normalisation follows; the output is the input's size divided by the stride,
    rounded up, for odd kernels.
    """
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=False
    )


class ConvBnRelu(nn.Module):
    """Convolution, batch normalisation, ReLU.

    Shape: input (N, in_channels, H, W); output (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = conv2d(in_channels, out_channels, kernel, stride=stride, groups=groups, dilation=dilation)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        return y


class Conv3x3Twice(nn.Module):
    """Two 3×3 convolutions, each with batch normalisation and ReLU; the first has the stride.

    Shape: input (N, in_channels, H, W); output (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv2d(in_channels, out_channels, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv2d(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        z: Tensor = self.relu(self.bn2(self.conv2(y)))
        return z


def conv3x3(spec: OperatorSpec) -> nn.Module:
    """A 3×3 convolution with batch normalisation and ReLU."""
    return ConvBnRelu(spec.in_channels, spec.out_channels, stride=spec.stride)


def conv3x3_x2(spec: OperatorSpec) -> nn.Module:
    """Two of them."""
    return Conv3x3Twice(spec.in_channels, spec.out_channels, stride=spec.stride)


def conv_bn_relu(spec: OperatorSpec) -> nn.Module:
    """A convolution of any kernel, groups and dilation, with batch normalisation and ReLU."""
    return ConvBnRelu(
        spec.in_channels,
        spec.out_channels,
        int(spec.attributes["kernel"]),
        stride=spec.stride,
        groups=int(spec.attributes["groups"]),
        dilation=int(spec.attributes["dilation"]),
    )


BILINEAR = "bilinear"
NEAREST = "nearest"


class Resize(nn.Module):
    """Resizes a feature map.

    Shape: input (N, C, H, W); output (N, C, *size).

    Args:
        size: (height, width) of the output.
        mode: `bilinear` or `nearest`.
        align_corners: whether the corner pixels of input and output coincide; without meaning for `nearest`.
    """

    def __init__(self, size: tuple[int, int], *, mode: str = BILINEAR, align_corners: bool = True) -> None:
        super().__init__()
        self.size = size
        self.mode = mode
        self.align_corners = align_corners

    @classmethod
    def of(cls, spec: OperatorSpec, size: tuple[int, int]) -> Resize:
        """Resizing to that size in the way the operator's attributes say."""
        return cls(size, mode=str(spec.attributes["resize"]), align_corners=bool(spec.attributes["align_corners"]))

    def forward(self, x: Tensor) -> Tensor:
        align_corners = self.align_corners if self.mode == BILINEAR else None
        return functional.interpolate(x, self.size, mode=self.mode, align_corners=align_corners)

    def extra_repr(self) -> str:
        return f"size={self.size}, mode={self.mode}, align_corners={self.align_corners}"


def upsample(spec: OperatorSpec) -> nn.Module:
    """Resizing to the output's size."""
    _, _, height, width = spec.output_shape
    return Resize.of(spec, (height, width))


def zoomed_side(side: int, stride: int) -> int:
    """Height or width at which the convolutions run, from the input's.

    Half the input, rounded down as in the published code, but never empty. At stride 2 it is the output's, which every kind
    rounds up.
    """
    return -(-side // 2) if stride == 2 else max(1, side // 2)


def _zoomed_size(spec: OperatorSpec) -> tuple[int, int]:
    return zoomed_side(spec.height, spec.stride), zoomed_side(spec.width, spec.stride)


def _zoom_back(spec: OperatorSpec) -> nn.Module:
    """From the zoomed size to the output's; at stride 2 they are one."""
    return nn.Identity() if spec.stride == 2 else Resize.of(spec, (spec.height, spec.width))


class ZoomedConv3x3(nn.Module):
    """Resize by ½, 3×3 convolution, batch normalisation, resize by 2 unless the stride is 2, ReLU.

    Shape: input `spec.input_shape`; output `spec.output_shape`.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.down = Resize.of(spec, _zoomed_size(spec))
        self.conv1 = conv2d(spec.in_channels, spec.out_channels)
        self.bn1 = nn.BatchNorm2d(spec.out_channels)
        self.up = _zoom_back(spec)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(self.down(x)))
        z: Tensor = self.relu(self.up(y))
        return z


class ZoomedConv3x3Twice(nn.Module):
    """As `ZoomedConv3x3`, with two convolutions and a ReLU between them.

    Shape: input `spec.input_shape`; output `spec.output_shape`.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.down = Resize.of(spec, _zoomed_size(spec))
        self.conv1 = conv2d(spec.in_channels, spec.out_channels)
        self.bn1 = nn.BatchNorm2d(spec.out_channels)
        self.conv2 = conv2d(spec.out_channels, spec.out_channels)
        self.bn2 = nn.BatchNorm2d(spec.out_channels)
        self.up = _zoom_back(spec)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(self.down(x))))
        y = self.bn2(self.conv2(y))
        z: Tensor = self.relu(self.up(y))
        return z


WIDEST_MID_CHANNELS = 256


def feature_fusion(spec: OperatorSpec) -> nn.Module:
    """1×1 convolution, batch normalisation, ReLU over the concatenated branches.

    Source: FasterSeg §3.4; the attention of its published module is not used at inference.
    """
    return ConvBnRelu(spec.in_channels, spec.out_channels, kernel=1)


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
