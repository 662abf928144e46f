"""What tests of the compiled code ask for."""

import pytest

from mink_pd.native import build as native


@pytest.fixture(scope="session")
def compiled() -> None:
    """Skip where nothing was compiled."""
    if native.library() is None:
        pytest.skip("the compiled convolution is not available here")
