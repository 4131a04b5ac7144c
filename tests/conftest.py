"""Options and fixtures of all tests."""

from __future__ import annotations

import os

# One thread per process: the tests run beside each other, and numpy's sums must not depend on the number of cores.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from typing import TYPE_CHECKING  # noqa: E402

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

if TYPE_CHECKING:
    from ops.compiled import Workshop

pytest.register_assert_rewrite("ops", "frontend", "codegen")

settings.register_profile(
    "freeml", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("freeml")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what was found into tests/golden instead of comparing"
    )


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are written anew."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Builds emitted C for this machine; libraries are kept for the session."""
    from ops.compiled import Workshop

    return Workshop(folder=tmp_path_factory.mktemp("workshop"))
