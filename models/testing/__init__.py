"""The suites that every search space and every operator kind must pass, for tests of a package that adds one.

Derive a test class from one of them (docs/extend.md). Needs pytest: pip install 'opclock[testing]'. Nothing but tests imports
this package.
"""

import pytest

pytest.register_assert_rewrite(
    "models.testing.decoding",
    "models.testing.operators",
    "models.testing.small_spaces",
    "models.testing.spaces",
    "models.testing.variation",
)

from models.testing.graph_reference import Probabilities  # noqa: E402
from models.testing.operators import OperatorSuite  # noqa: E402
from models.testing.small_spaces import SmallSpaceSuite  # noqa: E402
from models.testing.spaces import SpaceSuite  # noqa: E402

__all__ = ["OperatorSuite", "Probabilities", "SmallSpaceSuite", "SpaceSuite"]
