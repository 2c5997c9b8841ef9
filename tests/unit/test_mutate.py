"""The list of breaks that ``tox -e mutate`` tries: it follows the code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import certbot_pinkeep

UNIT = Path(__file__).parent
sys.path.append(str(UNIT.parent / "mutate"))

from breaks import BREAKS, Break  # noqa: E402

PACKAGE = Path(certbot_pinkeep.__file__).parent


@pytest.mark.parametrize("one", BREAKS, ids=range(len(BREAKS)))
def test_piece_of_a_break_occurs_once(one: Break) -> None:
    """The rule is where the list says, and its tests exist."""
    text = (PACKAGE / f"{one.module}.py").read_text("utf-8")
    assert text.count(one.piece) == 1 and one.instead != one.piece
    assert all(len(list(UNIT.rglob(f"test_{name}.py"))) == 1 for name in one.tests)


def test_there_are_breaks_enough() -> None:
    """At least sixty."""
    assert len(set(BREAKS)) == len(BREAKS) >= 60
