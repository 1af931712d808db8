"""The suite that every backend must pass, for tests of a package that adds one.

Derive a test class from it (docs/extend.md). Needs pytest: pip install 'opclock[testing]'. Nothing but tests imports this
package.
"""

import pytest

pytest.register_assert_rewrite("profiler_service.testing.backends", "profiler_service.testing.denormals")

from profiler_service.testing.backends import BackendSuite  # noqa: E402

__all__ = ["BackendSuite"]
