"""The suite that every data set must pass, for tests of a package that adds one.

Derive a test class from it (docs/extend.md). Needs pytest: pip install 'opclock[testing]'. Nothing but tests imports this
package.
"""

import pytest

pytest.register_assert_rewrite("nas_client.testing.datasets")

from nas_client.testing.datasets import DatasetSuite  # noqa: E402

__all__ = ["DatasetSuite"]
