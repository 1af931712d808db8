"""What a GPU must be able to do, by its compute capability."""

from __future__ import annotations

from models.spec.errors import InvalidSpecError
from models.spec.operators import Dtype
from profiler_service.backends.options import GpuOptions
from profiler_service.errors import BackendUnavailableError

Capability = tuple[int, int]

OLDEST: Capability = (7, 0)
"""What the sleeping kernel is written for; no runtime of today supports older GPUs."""

_AMPERE: Capability = (8, 0)
"""The first with TF32 and bfloat16."""


def require_supported(name: str, capability: Capability) -> None:
    """Raises BackendUnavailableError for a GPU that is too old."""
    if capability < OLDEST:
        raise BackendUnavailableError(
            f"{name} is not supported: its compute capability is {said(capability)}, and {said(OLDEST)} is the least",
            hint="Choose another OPCLOCK_DEVICE_INDEX, or a backend on the CPU.",
        )


def require_tf32(name: str, capability: Capability, options: GpuOptions) -> None:
    """Raises InvalidSpecError where TF32 is asked of a GPU that has none."""
    if options.tf32 and capability < _AMPERE:
        raise InvalidSpecError(f"{name} has no TF32", hint="Leave tf32 off.")


def computed_in(dtypes: tuple[Dtype, ...], capability: Capability) -> tuple[Dtype, ...]:
    """Those of them that the GPU computes in itself: older ones compute bfloat16 in another type."""
    return tuple(dtype for dtype in dtypes if dtype != "bfloat16" or capability >= _AMPERE)


def said(capability: Capability) -> str:
    """`8.6`."""
    return ".".join(map(str, capability))
