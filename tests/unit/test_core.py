"""The core is pure: it loads no module of ours that reaches for files or certbot."""

from __future__ import annotations

import subprocess
import sys

import pytest

CORE = ["pins", "policy", "reach", "ledger", "keyring", "state", "rollover", "advice", "options"]
CORE += ["status", "timeline", "exports", "errors", "moments", "text"]
OTHERS = ["certbot", "acme", "configobj"]


@pytest.mark.parametrize("name", CORE)
def test_core_loads_no_edge(name: str) -> None:
    """Its own modules are of the core as well; certbot stays out."""
    code = f"import sys, certbot_pinkeep.{name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    ours = {one.split(".")[1] for one in loaded if one.startswith("certbot_pinkeep.")}
    assert ours <= set(CORE)
    assert not set(OTHERS).intersection(loaded)
