"""Advice that fails when it is followed is worse than none: every command that a message names is run.

The tables are in ``advised_*.py``: a state, what is asked, what is said, the command that the message
names, and the state after it. The command is read in the message itself.
"""

from __future__ import annotations

from pathlib import Path

import advised_checks
import pytest
from followed import Row
from server import Server

import certbot_pinkeep

ROWS = [*advised_checks.ROWS]
PACKAGE = Path(certbot_pinkeep.__file__).parent


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server on which nothing is pinned yet."""
    return Server(tmp_path)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_command_that_a_message_names_helps(server: Server, row: Row) -> None:
    """It is taken, and what the message is about is over, or goes on as the row says."""
    row.follow(server)
