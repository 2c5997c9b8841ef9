"""At which names a policy binds (RFC 7469 §2.6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simulated.values  # noqa: F401 - the same examples every time
from certbot_pinkeep.core import hostnames

LABELS = st.lists(st.sampled_from(["a", "b", "www"]), min_size=1, max_size=3)
NAMES = st.builds(
    lambda labels, wild: ".".join([*wild, *labels, "test"]), LABELS, st.sampled_from([[], ["*"]])
)


@pytest.mark.parametrize(
    ("host", "name", "subdomains", "bound"),
    [
        ("example.com", "example.com", False, True),
        ("example.com", "www.example.com", False, False),
        ("example.com", "www.example.com", True, True),
        ("example.com", "a.www.example.com", True, True),
        ("example.com", "notexample.com", True, False),
        ("a.example.com", "b.example.com", False, False),
        ("www.example.com", "example.com", True, False),
        # A wildcard stands for the hosts one label below.
        ("*.example.com", "www.example.com", False, True),
        ("*.example.com", "a.www.example.com", False, False),
        ("*.example.com", "a.www.example.com", True, True),
        ("*.example.com", "example.com", True, False),
        ("www.example.com", "*.example.com", False, True),
        ("example.com", "*.example.com", False, False),
        ("example.com", "*.example.com", True, True),
        ("*.example.com", "*.www.example.com", True, True),
        ("*.example.com", "*.www.example.com", False, False),
        ("192.0.2.1", "192.0.2.1", False, True),
    ],
)
def test_names_that_a_policy_binds_at(host: str, name: str, subdomains: bool, bound: bool) -> None:
    """The host itself, what a wildcard stands for, and with includeSubDomains what is below."""
    assert hostnames.covers(host, name, subdomains=subdomains) is bound


@given(NAMES, NAMES)
def test_subdomains_only_add(host: str, name: str) -> None:
    """What is bound without includeSubDomains is bound with it."""
    assert hostnames.covers(host, name, subdomains=True) >= hostnames.covers(
        host, name, subdomains=False
    )


@given(NAMES, NAMES)
def test_the_same_host_is_mutual(one: str, other: str) -> None:
    """If neither is below the other, each is the other's host or not."""
    assert hostnames.covers(one, other, subdomains=False) == hostnames.covers(
        other, one, subdomains=False
    )


@given(NAMES, st.lists(NAMES), st.booleans())
def test_covered_are_those_that_a_host_covers(name: str, hosts: list[str], below: bool) -> None:
    """In their order, each once for any number of hosts."""
    expected = (
        [name] if any(hostnames.covers(host, name, subdomains=below) for host in hosts) else []
    )
    assert hostnames.covered(hosts, [name], subdomains=below) == expected
