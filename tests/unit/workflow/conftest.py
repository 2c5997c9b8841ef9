"""Lineages that several tests of the workflow begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulated.machine import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A lineage that pinkeep has not seen yet; no copies of the record are kept."""
    found = Site(tmp_path)
    found.copies = False
    return found


@pytest.fixture
def world(tmp_path: Path) -> Site:
    """A lineage that is pinned with one backup, which all clients know."""
    found = Site(tmp_path, backups=1)
    found.run(0)
    return found
