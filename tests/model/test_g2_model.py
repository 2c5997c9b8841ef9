"""G2, G5, G8: thousands of histories, in none of which a client is locked out."""

from __future__ import annotations

from pathlib import Path

import pytest
from histories import (
    Calm,
    Carried,
    Histories,
    Killed,
    Late,
    Lost,
    LostForGood,
    Mistimed,
    Revoked,
    run,
)
from named import NAMED
from one_site import OneSite

KINDS = [Calm, Revoked, Carried, Late, Killed, Lost, LostForGood, Mistimed, *[Histories] * 5]


@pytest.mark.parametrize(
    ("number", "kind"),
    [pytest.param(*one, id=f"{one[0]}-{one[1].__name__}") for one in enumerate(KINDS)],
)
def test_g2_g3_no_history_locks_anybody_out(
    histories: int, seed: int, number: int, kind: type[Calm]
) -> None:
    """Whatever happens, who holds an unexpired policy accepts the key that is served; no renewal is
    lost, no compromised key handed over, and no rollover left out that is due and safe."""
    run(max(histories // len(KINDS), 1), kind, seed=f"{seed} {number}")


@pytest.mark.parametrize("name", NAMED)
def test_g2_g3_a_history_that_once_failed_locks_nobody_out(name: str, tmp_path: Path) -> None:
    """What a long run found stays found."""
    NAMED[name](OneSite(tmp_path))
