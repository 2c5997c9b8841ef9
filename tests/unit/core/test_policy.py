"""What may be published, and how long it binds (RFC 7469 §2.3, §2.5, §4.3)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given

from certbot_pinkeep.core.errors import BadPolicy
from certbot_pinkeep.core.header import read_header
from certbot_pinkeep.core.policy import Policy
from simulated.values import A, B, policy, policy_strategy


@pytest.mark.parametrize(
    "listed", [(), (A,), (A, A), (A, B, A), (A, "not a pin"), (A, ""), (A, B[:-1])]
)
def test_g4_policy_needs_two_different_pins(listed: tuple[str, ...]) -> None:
    """Fewer than two pins, one twice, or what is no pin cannot be published."""
    assert policy(A, B).pins == (A, B)
    with pytest.raises(BadPolicy):
        policy(*listed)


def test_policy_refuses_a_negative_max_age() -> None:
    """max-age counts seconds from now on; 0 makes clients forget, less has no meaning."""
    assert policy(A, B, max_age=0).max_age == 0
    with pytest.raises(BadPolicy):
        policy(A, B, max_age=-1)


def test_policy_binds_for_its_max_age() -> None:
    """A client holds it for max-age seconds from its last visit (§2.3)."""
    assert policy(A, B, max_age=90).binding == timedelta(seconds=90)


def test_report_only_and_max_age_zero_bind_nobody() -> None:
    """A report-only policy is never noted (§2.3.2); max-age=0 is forgotten at once (§2.3.1)."""
    assert not policy(A, B, report_only=True).binding
    assert not policy(A, B, max_age=0).binding


def test_header_name_follows_report_only() -> None:
    """The two headers of §2.1."""
    assert policy(A, B).header_name == "Public-Key-Pins"
    assert policy(A, B, report_only=True).header_name == "Public-Key-Pins-Report-Only"


@given(policy_strategy())
def test_header_value_says_what_the_policy_says(given: Policy) -> None:
    """A user agent reads out of the header what the policy holds."""
    header = read_header(given.header_value)
    assert (header.pins, header.max_age, header.include_subdomains, header.report_uri) == (
        given.pins,
        given.max_age,
        given.include_subdomains,
        given.report_uri,
    )
