"""How many histories are tried: ``./dev test -e model -- --histories 100000`` tries more."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--histories``."""
    parser.addoption("--histories", type=int, default=2000, help="how many histories are tried")


@pytest.fixture
def histories(request: pytest.FixtureRequest) -> int:
    """How many histories are tried."""
    return int(request.config.getoption("--histories"))
