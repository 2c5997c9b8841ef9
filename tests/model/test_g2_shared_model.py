"""G2, G3, G5 with lineages that share keyrings: they join, move, are deleted, renewed in any order, with
keys of two types; no history locks anybody out."""

from __future__ import annotations

import pytest
from histories import run
from shared_histories import Shared, SharedCarried, SharedKilled, SharedRevoked


@pytest.mark.parametrize("kind", [Shared, SharedCarried, SharedKilled, SharedRevoked])
def test_g2_g3_g5_no_history_of_shared_keyrings_locks_anybody_out(
    histories: int, seed: int, kind: type[Shared]
) -> None:
    """A client that holds an unexpired policy of a host accepts every key that is served there."""
    run(max(histories // 12, 1), kind, seed=seed)
