"""What an operator costs in arithmetic and weights, and how far it sees, found on its module."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from models.operators.joins import Add, Concat
from models.operators.layers import BILINEAR, Resize, build_operator
from models.plugins import load_reference
from models.spec import limits
from models.spec.bounds import Bounds
from models.spec.costs import Costs as Costs
from models.spec.errors import InvalidSpecError, WorkloadTooLargeError
from models.spec.kinds import kind_info
from models.spec.operators import DTYPE_BYTES, OperatorSpec


def _per_element(macs: int, _layer: nn.Module, _x: Tensor, y: Tensor) -> int:
    return macs * y.numel()


def _per_input(_layer: nn.Module, x: Tensor, _y: Tensor) -> int:
    return x.numel()


def _resize(layer: Resize, _x: Tensor, y: Tensor) -> int:
    return 4 * y.numel() if layer.mode == BILINEAR else 0


def _pool(layer: nn.MaxPool2d | nn.AvgPool2d, _x: Tensor, y: Tensor) -> int:
    kernel = layer.kernel_size
    return y.numel() * (kernel**2 if isinstance(kernel, int) else kernel[0] * kernel[-1])


_COUNTERS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], int]] = {
    nn.BatchNorm2d: partial(_per_element, 2),
    nn.Identity: partial(_per_element, 0),
    Add: partial(_per_element, 0),
    Concat: partial(_per_element, 0),
    nn.Flatten: partial(_per_element, 0),
    nn.Dropout: partial(_per_element, 0),
    nn.Dropout2d: partial(_per_element, 0),
    nn.GroupNorm: partial(_per_element, 4),  # the mean and the variance of what it normalises, too
    nn.LayerNorm: partial(_per_element, 4),
    nn.PReLU: partial(_per_element, 1),
    nn.AdaptiveAvgPool2d: _per_input,
    nn.AdaptiveMaxPool2d: _per_input,
    nn.AvgPool2d: _pool,
    nn.MaxPool2d: _pool,
    Resize: _resize,
}
_WITHOUT_WEIGHTS = partial(_per_element, 1)


class UncountedCostsError(InvalidSpecError):
    """A layer has weights, but neither a matrix product nor a rule says what it costs."""


class _Products:
    """Counts convolutions and matrix products with torch's own formulas, wherever they are computed."""

    def __init__(self) -> None:
        self.macs = self.outputs = 0
        formulas = {operation: self._counting(formula) for operation, formula in flop_registry.items()}
        self.mode = FlopCounterMode(display=False, custom_mapping=formulas)

    def _counting(self, formula: Any) -> Any:
        def count(*arguments: Any, out_val: Any = None, **options: Any) -> int:
            flops = int(formula(*arguments, out_val=out_val, **options))
            self.macs += flops // 2
            self.outputs += out_val.numel() if isinstance(out_val, Tensor) else 0
            return flops

        count._get_raw = True  # type: ignore[attr-defined]  # tensors, not shapes
        return count


def module_costs(module: nn.Module, *input_shapes: tuple[int, ...]) -> Costs:
    """The costs of a module on `meta` for inputs of those shapes.

    Convolutions and matrix products count wherever they are computed. Everything else counts at its layer: a layer without
    weights and without a rule of its own counts 1 for each element that it writes. What else is said by a function (adding
    maps, concatenating them) counts as nothing.

    Raises:
        UncountedCostsError: nothing counts a layer that has weights.
    """
    layers = [layer for layer in module.modules() if next(layer.children(), None) is None]
    products, starts, others = _Products(), [], 0

    def enter(_layer: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        starts.append(products.macs)

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal others
        multiplied = products.macs > starts.pop()
        counter = _COUNTERS.get(type(layer))
        if counter is None and not multiplied and next(layer.parameters(), None) is not None:
            raise UncountedCostsError(f"no rule counts the costs of a layer of type {type(layer).__name__}")
        if isinstance(output, Tensor) and (counter is not None or not multiplied):
            others += (counter or _WITHOUT_WEIGHTS)(layer, inputs[0] if inputs else output, output)

    hooks = [hook for layer in layers for hook in (layer.register_forward_pre_hook(enter), layer.register_forward_hook(count))]
    try:
        with torch.no_grad(), products.mode:
            module.eval()(*(torch.empty(shape, device="meta") for shape in input_shapes))
    finally:
        for hook in hooks:
            hook.remove()
    return Costs(
        macs=products.macs + others,
        convolution_macs=products.macs,
        flops=2 * products.macs - products.outputs,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
    )


@lru_cache(maxsize=4096)
def operator_costs(spec: OperatorSpec) -> Costs:
    """The costs of one operator at its batch: as its kind states them (`KindInfo.costs`), else counted on its module.

    Raises:
        InvalidSpecError: what the kind names gives no costs, or cannot be imported.
        UncountedCostsError: nothing counts a layer that has weights.
    """
    info = kind_info(spec.kind)
    if not info.costs:
        return counted_costs(spec)
    what = f"the costs of operator kind {spec.kind!r}"
    stated = load_reference(info.costs, what) if isinstance(info.costs, str) else info.costs
    costs = stated(spec)
    if not isinstance(costs, Costs):
        raise InvalidSpecError(f"{what} are {costs!r}, no Costs", hint="Let the function give a models.spec.costs.Costs.")
    return costs


def counted_costs(spec: OperatorSpec) -> Costs:
    """The costs of one operator, counted on its module. Raises as `module_costs`."""
    with torch.device("meta"):
        module = build_operator(spec)
    return module_costs(module, *spec.source_shapes)


class _LargestMap(TorchDispatchMode):
    """The most numbers that any tensor has that is computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple | list) else (result,):
            if isinstance(part, Tensor):
                self.elements = max(self.elements, part.numel())
        return result


def operator_size(spec: OperatorSpec) -> Bounds:
    """What the operator's module takes, found on `meta`; its largest map may be its output. Raises as `module_costs`."""
    with torch.device("meta"):
        module = build_operator(spec).eval()
    with torch.no_grad(), _LargestMap() as largest:
        module(*(torch.empty(shape, device="meta") for shape in spec.source_shapes))
    costs = operator_costs(spec)
    return Bounds(weights=costs.parameters, inner=largest.elements, macs=costs.macs)


def require_size(spec: OperatorSpec) -> None:
    """Refuse an operator whose module is larger than its kind's bounds let expect. Only a module that runs on `meta` can be
    looked at; of another one only the bounds are known.

    Raises:
        WorkloadTooLargeError: its weights or its largest map alone exceed the limit of memory.
    """
    try:
        size = operator_size(spec)
    except (NotImplementedError, RuntimeError, UncountedCostsError):
        return
    elements = size.weights + size.inner
    nbytes = elements * DTYPE_BYTES[spec.dtype]
    if nbytes > limits.MAX_WORKLOAD_BYTES:
        raise WorkloadTooLargeError(
            f"{spec.label()}: its weights and its largest map take {nbytes:.3g} bytes; "
            f"the limit is {limits.MAX_WORKLOAD_BYTES:.3g}",
            hint="Choose a smaller input, and let the kind state its bounds (KindInfo.bounds).",
        )


_RELEVANT = 1e-5
"""Share of the largest derivative below which one is a rounding error of where a resize looks."""


def receptive_field(spec: OperatorSpec) -> tuple[int, int]:
    """Height and width of the smallest rectangle that holds every input pixel that an output pixel depends on.

    The largest found along the output's central column and row: where a resize looks between pixels, outputs differ. Channels
    do not change it, so that as few as the groups allow are used.
    """
    channels = int(spec.attributes.get("groups", 1))
    narrow = OperatorSpec.parse(
        {**spec.model_dump(), "in_channels": channels, "out_channels": channels, "batch": 1, "dtype": "float32"}
    )
    module = _all_open(build_operator(narrow))
    _, _, height, width = narrow.output_shape
    rows = [(row, width // 2) for row in range(height)]
    columns = [(height // 2, column) for column in range(width)]
    sees = _dependence(module, narrow, rows + columns)
    return _widest(sees[:height].any(dim=2)), _widest(sees[height:].any(dim=1))


def _all_open(module: nn.Module) -> nn.Module:
    """The module with weights that let every pixel through: all equal and positive, so that no ReLU closes, nothing cancels."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module.eval()


def _dependence(module: nn.Module, spec: OperatorSpec, outputs: list[tuple[int, int]]) -> Tensor:
    """Which input pixels each of these output pixels depends on. Shape: (outputs, H, W)."""
    x = torch.ones(len(outputs), *spec.input_shape[1:], requires_grad=True)
    y = module(x)
    wanted = torch.zeros_like(y)
    for index, (row, column) in enumerate(outputs):
        wanted[index, :, row, column] = 1
    (derivative,) = torch.autograd.grad(y, x, wanted)
    size = derivative.abs().sum(dim=1)
    return size > _RELEVANT * size.amax(dim=(1, 2), keepdim=True)


def _widest(sees: Tensor) -> int:
    """The longest stretch from first to last. Shape: (outputs, pixels)."""
    ends = [seen.nonzero() for seen in sees]
    return max(int(found.max() - found.min()) + 1 for found in ends)
