"""Which histories are tried, and how many.

The rules:

* As long as nothing is said, the histories are the same every time: a test run does not fail by chance. They
  are few: what breaks a rule has a named history (see ``test_g2_broken_rules.py``). Only new histories can
  find what is new.
* ``./dev test -e model -- --histories 100000`` tries more, and others than ever before. Their seed is
  printed: with ``--seed`` they are tried again.
* A failing history that was found so becomes a named one (see ``named.py``).
* How long it takes until the histories come to what breaks a rule is chance: that they do is shown with
  ``--histories`` alone. Without it a named history shows that it is found.
"""

from __future__ import annotations

import secrets

import pytest

from simulated import memory  # noqa: F401 - for what it does

#: How many histories are tried, from which seed, as long as nothing is said.
HISTORIES, SEED = 400, 0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--histories`` and ``--seed``."""
    parser.addoption("--histories", type=int, help=f"how many histories are tried ({HISTORIES})")
    parser.addoption(
        "--seed", type=int, help=f"which ones ({SEED}; with --histories: others every time)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose what is tried, once: pytest-xdist passes the options on to its workers."""
    option = config.option
    if not hasattr(option, "search"):
        option.search = option.histories is not None
    if option.seed is None:
        option.seed = SEED if option.histories is None else secrets.randbelow(10**9)
    if option.histories is None:
        option.histories = HISTORIES


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what depends on chance, as long as nothing is said."""
    if not config.option.search:
        left_out = [item for item in items if item.get_closest_marker("search")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_report_header(config: pytest.Config) -> str:
    """Say what is tried, so that it can be tried again."""
    return f"histories: --histories {config.option.histories} --seed {config.option.seed}"


@pytest.fixture
def histories(request: pytest.FixtureRequest) -> int:
    """How many histories are tried."""
    return int(request.config.option.histories)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Which ones are tried."""
    return int(request.config.option.seed)
