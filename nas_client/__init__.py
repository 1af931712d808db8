"""What a search needs of latency tables: losses, estimates, and the service that measures.

These names are the public surface; everything else may change from release to release (docs/api.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.spaces.base import SearchSpace
    from models.spaces.registry import create_space
    from models.spec.architectures import ArchitectureSpec, SpaceSpec
    from models.spec.errors import OpclockError
    from nas_client.errors import NasClientError
    from nas_client.estimates import Estimate, estimate, read_calibration
    from nas_client.latency.coefficients import Coefficients, coefficients_of
    from nas_client.latency.decoupled import DecoupledLatency, Terms
    from nas_client.latency.parameters import ArchitectureParameters
    from nas_client.latency.relaxation import Gumbel
    from nas_client.latency.relaxed import RelaxedLatency
    from nas_client.latency.sensitivity import PUBLISHED_WEIGHTS, Sensitivity, Weights, sensitivity, solve_weights
    from nas_client.service import ServiceClient
    from nas_client.settings import ClientSettings
    from nas_client.table import LookupTable, load_table
    from nas_client.validation.calibration import Calibration
else:
    from models import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "models.spaces.base": ("SearchSpace",),
            "models.spaces.registry": ("create_space",),
            "models.spec.architectures": ("ArchitectureSpec", "SpaceSpec"),
            "models.spec.errors": ("OpclockError",),
            "nas_client.errors": ("NasClientError",),
            "nas_client.estimates": ("Estimate", "estimate", "read_calibration"),
            "nas_client.latency.coefficients": ("Coefficients", "coefficients_of"),
            "nas_client.latency.decoupled": ("DecoupledLatency", "Terms"),
            "nas_client.latency.parameters": ("ArchitectureParameters",),
            "nas_client.latency.relaxation": ("Gumbel",),
            "nas_client.latency.relaxed": ("RelaxedLatency",),
            "nas_client.latency.sensitivity": (
                "PUBLISHED_WEIGHTS",
                "Sensitivity",
                "Weights",
                "sensitivity",
                "solve_weights",
            ),
            "nas_client.service": ("ServiceClient",),
            "nas_client.settings": ("ClientSettings",),
            "nas_client.table": ("LookupTable", "load_table"),
            "nas_client.validation.calibration": ("Calibration",),
        },
    )

__all__ = [
    "PUBLISHED_WEIGHTS",
    "ArchitectureParameters",
    "ArchitectureSpec",
    "Calibration",
    "ClientSettings",
    "Coefficients",
    "DecoupledLatency",
    "Estimate",
    "Gumbel",
    "LookupTable",
    "NasClientError",
    "OpclockError",
    "RelaxedLatency",
    "SearchSpace",
    "Sensitivity",
    "ServiceClient",
    "SpaceSpec",
    "Terms",
    "Weights",
    "coefficients_of",
    "create_space",
    "estimate",
    "load_table",
    "read_calibration",
    "sensitivity",
    "solve_weights",
]
