"""Findings become the lines and the exit code that monitoring takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.check.findings import Finding, Severity, exit_code, lines

OK, WARNING, CRITICAL, UNKNOWN = Severity


def finding(severity: Severity, where: str = "x", what: str = "it is bad.") -> Finding:
    """Any finding."""
    return Finding(severity, where, what, "Mend it.")


@given(st.lists(st.sampled_from([WARNING, CRITICAL, UNKNOWN])))
def test_the_worst_finding_counts(severities: list[Severity]) -> None:
    """Critical before warning before unknown before ok, in the exit code, the summary and the lines."""
    found = [finding(severity, str(number)) for number, severity in enumerate(severities)]
    worst = next((one for one in (CRITICAL, WARNING, UNKNOWN) if one in severities), OK)
    summary, *told = lines(found, "all is well")
    assert exit_code(found) == worst and summary.startswith(f"PINKEEP {worst.name} - ")
    assert len(told) == len(found)
    assert [line.split(":")[0] for line in told[:1]] == ([worst.name] if found else [])


def test_lines_are_what_monitoring_takes() -> None:
    """One line each, without performance data; a finding once."""
    bad = finding(CRITICAL, what="it\nis | bad.")
    assert lines([bad, bad], "") == [
        "PINKEEP CRITICAL - x: it is / bad.",
        "CRITICAL: x: it is / bad. Mend it.",
    ]
    assert lines([], "2 hosts") == ["PINKEEP OK - 2 hosts"]
    assert lines([bad, finding(WARNING)], "")[0].endswith("(and 1 more)")
