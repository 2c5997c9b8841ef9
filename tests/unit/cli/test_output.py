"""What the command prints when it fails."""

from __future__ import annotations

import pytest

from certbot_pinkeep.cli import output
from certbot_pinkeep.core.errors import PinkeepError

ERRORS = {
    "what happened": (PinkeepError("It failed."), ["It failed. Nothing was changed."]),
    "and why": (PinkeepError("It failed:", "no."), ["It failed: no. Nothing was changed."]),
    "and a command": (
        PinkeepError("It failed.", "Why.", run="mend"),
        ["It failed. Why. Nothing was changed.", "Run: mend"],
    ),
    "two commands": (
        PinkeepError("It failed.", "Do this.\nRun: first", run="second"),
        ["It failed. Do this. Nothing was changed.", "Run: first", "Run: second"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_says_once_that_nothing_was_changed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the commands that help; and only if that is true."""
    error, lines = ERRORS[name]
    assert output.fail(error, unchanged=True) == output.fail(error) == 1
    changed = [line.replace(" Nothing was changed.", "") for line in lines]
    assert capsys.readouterr().err.splitlines() == [
        *(f"certbot-pinkeep: {lines[0]}", *lines[1:]),
        *(f"certbot-pinkeep: {changed[0]}", *changed[1:]),
    ]
