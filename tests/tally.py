"""Print what `./dev test` ran: of each tox environment how many tests, and how long it took.

usage: tally.py RESULT.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

# The last line of pytest's output: "==== 12 passed, 3 deselected in 3.20s (0:00:03) ====".
LAST = re.compile(r"^=+ (.*\b\d+ \w+.*) in [\d.]+s.*=+$", re.MULTILINE)
COUNT = re.compile(r"(\d+) (\w+)")
# What was not run counts as no test.
NOT_RUN = ("deselected", "warning", "warnings")


def main(path: str) -> None:
    """Print the table."""
    environments: dict[str, Any] = json.loads(Path(path).read_text("utf-8"))["testenvs"]
    lines = [("environment", "tests", "seconds", "")]
    for name, found in environments.items():
        if "result" in found:  # one that only builds the package has none
            tests, rest = counted(found.get("test", []))
            lines.append((name, tests, f"{found['result']['duration']:.0f}", rest))
    print(table(lines))


def counted(commands: list[dict[str, Any]]) -> tuple[str, str]:
    """Say how many tests the commands ran, and what became of those that did not pass."""
    ends = [end for command in commands for end in LAST.findall(command["output"])]
    counts = [(int(count), what) for end in ends for count, what in COUNT.findall(end)]
    tests = sum(count for count, what in counts if what not in NOT_RUN)
    rest = ", ".join(f"{count} {what}" for count, what in counts if what != "passed")
    return str(tests) if ends else "", rest


def table(lines: list[tuple[str, str, str, str]]) -> str:
    """Put the cells below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = []
    for name, tests, seconds, rest in lines:
        cells = [name.ljust(widths[0]), tests.rjust(widths[1]), seconds.rjust(widths[2]), rest]
        rows.append("  ".join(cells).rstrip())
    return "\n".join(rows)


if __name__ == "__main__":
    main(sys.argv[1])
