"""Which wildcard stands for a name, and which names lose something if it gets records."""

from __future__ import annotations

import pytest

from certbot_pinkeep.core import dns_names

ZONE, PORT = "example.com.", "_25._tcp.mail.example.com."


@pytest.mark.parametrize(
    ("name", "names", "wildcard"),
    [
        ("mail.example.com.", {ZONE, "*.example.com."}, "*.example.com."),
        (PORT, {ZONE, "*.example.com."}, "*.example.com."),
        (PORT, {ZONE, "*.example.com.", "mail.example.com."}, ""),
        (PORT, {ZONE, "*.example.com.", "_465._tcp.mail.example.com."}, ""),
        (PORT, {ZONE, "*._tcp.mail.example.com."}, "*._tcp.mail.example.com."),
        (PORT, {ZONE, "*.mail.example.com.", "*.example.com."}, "*.mail.example.com."),
        (PORT, {ZONE, "*.mail.example.com.", PORT}, ""),
        (PORT, {ZONE}, ""),
    ],
)
def test_closest_name_that_exists_has_the_wildcard(
    name: str, names: set[str], wildcard: str
) -> None:
    """A name exists if it, or a name below it, has records."""
    assert dns_names.wildcard_of(name, ZONE, names) == wildcard


def test_names_above_are_those_below_the_zones_own() -> None:
    """Of them, those that may be hosts; and the wildcards that may stand for a name."""
    assert dns_names.above(PORT, ZONE) == ["_tcp.mail.example.com.", "mail.example.com."]
    assert dns_names.hosts_above(PORT, "Example.com.") == ["mail.example.com."]
    below = ["*._tcp.mail.example.com.", "*.mail.example.com."]
    assert dns_names.wildcards_below_host(PORT, ZONE) == below
    assert dns_names.wildcards(PORT, ZONE) == [*below, "*.example.com."]
    assert dns_names.wildcards_below_host("_dane.example.com.", ZONE) == ["*.example.com."]
