"""What can be wrong with a module that is to become a graph.

::

    ExportError
    └── UnsupportedPrimitiveError   it uses a layer or function, or an option of one, that nothing emits
"""

from __future__ import annotations

from models.spec.errors import OpclockError


class ExportError(OpclockError):
    """The root of this package's errors."""


class UnsupportedPrimitiveError(ExportError):
    """A module uses a layer or function, or an option of one, that nothing emits."""
