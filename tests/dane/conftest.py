"""What the tests with real name servers share: a world of its own for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dane.world import Network


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Network]:
    """A world without name servers."""
    with ExitStack() as running:
        yield Network(tmp_path, running)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many days the time lapse has: ``--days 365`` takes some minutes."""
    parser.addoption("--days", type=int, default=45)


@pytest.fixture
def days(request: pytest.FixtureRequest) -> int:
    """How many days the time lapse has."""
    return int(request.config.getoption("--days"))
