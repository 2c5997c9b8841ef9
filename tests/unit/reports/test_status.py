"""The shape of ``status --json``, exactly as the contract promises it, and the text for people."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import pytest

from certbot_pinkeep.cli import output
from certbot_pinkeep.core import membership
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.state import State
from certbot_pinkeep.reports import status
from simulated.values import DAY, EC, FAULT, NOW, RSA, A, B, C, D, E, faulty, policy, ring_key

RING = Keyring(
    "ring",
    (Member("example.com", ("example.com", "www.example.com"), A),),
    (
        ring_key(A, "primary", EC, NOW - 9 * DAY, NOW - 9 * DAY, "keys/0000_key-certbot.pem"),
        ring_key(B, "backup", EC, NOW - 8 * DAY, None, "keys/0001_key-certbot.pem"),
        ring_key(C, "retired", EC, NOW - 7 * DAY, None, None),
    ),
)
PENDING = Ledger().record(policy(A, B, max_age=86400, report_uri="https://r.test/"), NOW - DAY)
LIVE = PENDING.confirm(NOW)


def document(ledger: Ledger) -> Any:
    """The document as a script reads it."""
    data = status.as_data([State(RING, ledger, "/s.conf")], {A: ["/etc/csr/a.pem"]}, NOW, "/etc")
    return json.loads(json.dumps(data))


def test_json_has_exactly_the_shape_of_the_contract() -> None:
    """Names, nesting, types and order of keys; times in RFC 3339, UTC."""
    assert document(LIVE) == {
        "version": 1,
        "keyrings": [
            {
                "name": "ring",
                "lineages": ["example.com"],
                "hosts": ["example.com", "www.example.com"],
                "keys": [
                    {
                        "pin": A,
                        "key_type": "ecdsa",
                        "role": "primary",
                        "key_path": "/etc/keys/0000_key-certbot.pem",
                        "csr_paths": ["/etc/csr/a.pem"],
                        "created": "2026-02-20T12:00:00Z",
                        "first_served": "2026-02-20T12:00:00Z",
                        "safe_from": "2026-02-20T12:00:00Z",
                    },
                    {
                        "pin": B,
                        "key_type": "ecdsa",
                        "role": "backup",
                        "key_path": "/etc/keys/0001_key-certbot.pem",
                        "csr_paths": [],
                        "created": "2026-02-21T12:00:00Z",
                        "first_served": None,
                        "safe_from": "2026-02-21T12:00:00Z",
                    },
                    {
                        "pin": C,
                        "key_type": "ecdsa",
                        "role": "retired",
                        "key_path": None,
                        "csr_paths": [],
                        "created": "2026-02-22T12:00:00Z",
                        "first_served": None,
                        "safe_from": None,
                    },
                ],
                "policy": {
                    "pins": [A, B],
                    "max_age": 86400,
                    "include_subdomains": False,
                    "report_uri": "https://r.test/",
                    "report_only": False,
                },
                "published": "live",
                "rollover": {
                    "due": False,
                    "requested": False,
                    "safe": True,
                    "safe_from": "2026-02-21T12:00:00Z",
                    "next_due": None,
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("ledger", "published"), [(LIVE, "live"), (PENDING, "pending"), (Ledger(), "none")]
)
def test_published_tells_what_apache_has_loaded(ledger: Ledger, published: str) -> None:
    """live, pending or none."""
    assert document(ledger)["keyrings"][0]["published"] == published


def test_keyring_that_publishes_nothing_has_a_policy_of_the_same_shape() -> None:
    """A script that reads its members does not stumble."""
    assert document(Ledger())["keyrings"][0]["policy"] == {
        "pins": [],
        "max_age": 0,
        "include_subdomains": False,
        "report_uri": None,
        "report_only": False,
    }


def test_keyring_that_all_certificates_have_left_is_not_rolled_over() -> None:
    """Nor is it said to be due; for programs as ever."""
    moved = replace(RING.members[0], transferred="other")
    for members in ((), (moved,)):
        text = status.as_text([State(replace(RING, members=members), LIVE)], NOW)
        assert "Rollover:  nothing to roll over: no certificate draws on " in text
        assert "certbot-pinkeep rollover ring" not in text and "due" not in text


def test_rollover_tells_when_it_will_be_safe() -> None:
    """A backup that clients do not know yet: not safe, and from when; in the text as well."""
    ledger = Ledger().record(policy(A, C, max_age=86400), NOW - 9 * DAY)
    ledger = ledger.record(policy(A, B), NOW).confirm(NOW)
    found = document(ledger)["keyrings"][0]["rollover"]
    assert (found["safe"], found["safe_from"]) == (False, "2026-03-02T12:00:00Z")
    text = status.as_text([State(RING, ledger)], NOW)
    assert "not safe" in text and "2026-03-02T12:00:00Z" in text


@pytest.mark.parametrize(
    ("ring", "due", "requested", "next_due"),
    [
        (RING, False, False, None),
        (replace(RING, rollover_days=10), False, False, "2026-03-02T12:00:00Z"),
        (replace(RING, rollover_days=9), True, False, "2026-03-01T12:00:00Z"),
        (RING.mark_for_retirement(), True, True, "2026-03-01T12:00:00Z"),
        (RING.with_revoked(A), True, False, "2026-03-01T12:00:00Z"),
        (RING.with_compromised(A), True, False, "2026-03-01T12:00:00Z"),
    ],
    ids=["never", "tomorrow", "today", "asked", "revoked", "compromised"],
)
def test_rollover_tells_when_and_why_it_is_due(
    ring: Keyring, due: bool, requested: bool, next_due: str | None
) -> None:
    """By age, or at once; only what the admin asked for is requested."""
    found = status.as_data([State(ring, LIVE)], {}, NOW, "/etc")["keyrings"][0]["rollover"]
    assert (found["due"], found["requested"], found["next_due"]) == (due, requested, next_due)
    text = status.as_text([State(ring, LIVE)], NOW)
    assert ("due from 2026-03-02T12:00:00Z" in text) == (next_due == "2026-03-02T12:00:00Z")
    assert ("never due by age" in text) == (next_due is None)
    assert (f"over to the key with the pin {B}" in text) == due


def test_rollover_is_safe_once_it_is_for_every_key_type() -> None:
    """With two types, the later one counts."""
    staged = RING.with_keys([ring_key(D, "primary", RSA), ring_key(E, "backup", RSA)])
    ring = membership.with_member(staged, Member("rsa", ("example.com",), D))
    ledger = Ledger().record(policy(A, B, max_age=86400), NOW - 9 * DAY)
    ledger = ledger.record(policy(A, B, D, E), NOW).confirm(NOW)
    found = status.as_data([State(ring, ledger)], {}, NOW, "/etc")["keyrings"][0]["rollover"]
    assert (found["safe"], found["safe_from"]) == (False, "2026-03-02T12:00:00Z")
    # A type that is only staged for certificates to come does not count.
    found = status.as_data([State(staged, ledger)], {}, NOW, "/etc")["keyrings"][0]["rollover"]
    assert found["safe"]


def test_rollover_that_is_not_dated_yet_is_not_said_to_be_never_due() -> None:
    """Its key is pending: the age counts from when Apache has loaded it."""
    fresh = replace(RING.keys[0], first_served=None)
    ring = replace(RING, keys=(fresh, *RING.keys[1:]), rollover_days=730)
    text = status.as_text([State(ring, PENDING)], NOW)
    assert "due 730 days after the web server has loaded the key (ecdsa)" in text
    rows = status.as_text([State(ring, PENDING)] * 21, NOW).splitlines()
    assert rows[1].endswith("not known yet")


def rolled_over() -> State:
    """A is left for B, and Apache has yet to load it."""
    left = replace(RING.keys[0], role="retired", retire_reason="asked")
    ring = replace(RING, keys=(replace(RING.keys[1], role="primary"), left, RING.keys[2]))
    ring = replace(ring, members=(replace(RING.members[0], pin=B),))
    return State(ring, LIVE.record(policy(B, D), NOW))


def test_g2_what_is_pending_is_not_said_to_be_served() -> None:
    """What Apache had loaded before is; in a block, and in the table."""
    text = status.as_text([rolled_over()], NOW)
    assert f"Serves:    {A} " in text and f"Serves:    {B} " not in text
    assert "certbot-pinkeep confirm ring" in text
    assert f"{B}  ECDSA secp256r1  primary, not loaded yet, made 8 days ago" in text
    assert f"{A}  ECDSA secp256r1  retired, may still be served, served 9 days ago" in text
    rows = status.as_text([rolled_over()] * 21, NOW).splitlines()
    assert A[:10] in rows[1] and B[:10] not in rows[1]


def test_what_is_loaded_is_said_to_be_served() -> None:
    """The old key is not shown any more; not even if it was never noted when it was left."""
    state = rolled_over()
    ring = state.keyring.served_since({B: NOW}, NOW)
    text = status.as_text([replace(state, keyring=ring, ledger=state.ledger.confirm(NOW))], NOW)
    assert f"Serves:    {B} " in text and A not in text and "confirm" not in text


def test_hosts_that_moved_are_listed_nowhere() -> None:
    """Neither in the text nor for scripts; their lineage is, with what is to be done."""
    moved = Member("api", ("api.example.com",), A, transferred="other")
    state = State(replace(RING, members=(*RING.members, moved)), LIVE)
    assert "api.example.com" not in status.as_text([state], NOW)
    assert "certbot-pinkeep confirm other" in status.as_text([state], NOW)
    found = status.as_data([state], {}, NOW, "/etc")["keyrings"][0]
    assert found["hosts"] == ["example.com", "www.example.com"]


@pytest.mark.parametrize("encrypted", ["", "keys/0001_key-certbot.pem"])
def test_g2_backup_whose_private_key_is_offline_is_not_safe_now(encrypted: str) -> None:
    """No time is in the past for who compares it; people are told what to bring, and how."""
    brought = replace(RING.keys[1], path=None, encrypted=encrypted)
    state = State(replace(RING, keys=(RING.keys[0], brought)), LIVE)
    found = status.as_data([state], {}, NOW, "/etc")["keyrings"][0]
    assert (found["rollover"]["safe"], found["rollover"]["safe_from"]) == (False, None)
    assert found["keys"][1]["safe_from"] == "2026-02-21T12:00:00Z"
    assert "certbot-pinkeep backup ring add --key FILE" in status.as_text([state], NOW)
    assert "safe now;" not in status.as_text([state], NOW)
    (line,) = status.backup_lines(state, NOW)
    assert line.endswith("certbot-pinkeep backup ring add --key FILE")
    assert "needs its private key" in status.as_text([state] * 21, NOW)


def test_backup_whose_file_is_lost_is_not_safe_now() -> None:
    """It is none until it is there again."""
    state = State(faulty(RING, B), LIVE)
    found = status.as_data([state], {}, NOW, "/etc")["keyrings"][0]["rollover"]
    assert (found["safe"], found["safe_from"]) == (False, None)
    text = status.as_text([state], NOW)
    assert "safe now" not in text and "Next:" not in text
    assert f"; not usable: {FAULT}" in text
    (line,) = status.backup_lines(state, NOW)
    assert f"not usable: {FAULT}" in line and "Run: certbot renew" in line
    assert "safe now" not in line


def test_g8_key_that_was_served_later_than_now_has_no_age() -> None:
    """The clock is wrong, or was."""
    text = status.as_text([State(RING, LIVE)], NOW - 400 * DAY)
    assert "served in the future by this clock" in text and "days ago" not in text


def test_unpinned_keyring_publishes_nothing_in_the_end() -> None:
    """While max-age=0 is served that is what is published; it is told until when pins are held."""
    ledger = LIVE.record(policy(A, B, max_age=0), NOW).confirm(NOW)
    state = State(RING, ledger, "/s.conf", unpin=True)
    for days, published in ((0, "live"), (1, "none")):
        at = NOW + days * DAY
        found = status.as_data([state], {}, at, "/etc")["keyrings"][0]
        assert found["published"] == published
        assert ("until 2026-03-02T12:00:00Z" in status.as_text([state], at)) == (days == 0)


def test_keyring_without_certificates_is_told_what_brings_it_up_to_date() -> None:
    """certbot renew does not come to it any more; nobody is talked into leaving pinning."""

    def around(state: State) -> status.Around:
        return status.Around(f"certbot-pinkeep unpin {state.keyring.name}")

    ledger = LIVE.record(policy(A, B, max_age=0), NOW)
    leaving = State(RING, ledger.confirm(NOW), "/s.conf", unpin=True)
    text = status.as_text([leaving], NOW, around)
    assert "The first 'certbot-pinkeep unpin ring' after that takes the header away" in text
    assert "certbot renew" not in text and "nothing to roll over" in text
    assert "'certbot renew' after that" in status.as_text([leaving], NOW)
    text = status.as_text([State(RING, ledger, "/s.conf", unpin=True)], NOW, around)
    assert "Run: certbot-pinkeep unpin ring" in text and "certbot renew" not in text
    text = status.as_text([State(RING, PENDING, "/s.conf")], NOW, around)
    assert "Run: certbot-pinkeep confirm ring" in text and "unpin" not in text


def test_g8_doubt_makes_everything_unknown() -> None:
    """Neither for the keyring nor for a key is there a time."""
    found = document(LIVE.contradicted("it was lost", []))["keyrings"][0]
    assert found["rollover"]["safe_from"] is None and not found["rollover"]["safe"]
    assert {key["safe_from"] for key in found["keys"]} == {None}


def test_rollover_without_backups_is_never_safe() -> None:
    """There is nothing to roll over to."""
    alone = State(Keyring("ring", RING.members, RING.keys[:1]), LIVE)
    found = status.as_data([alone], {}, NOW, "/etc")["keyrings"][0]["rollover"]
    assert (found["safe"], found["safe_from"]) == (False, None)


def test_text_tells_keys_and_where_the_snippet_is() -> None:
    """One block per keyring, with pins, roles and ages; retired keys are left out."""
    one = State(RING, LIVE, "/s.conf")
    text = status.as_text([one, one], NOW)
    assert text.count("Keyring ring\n") == 2
    assert "live, in /s.conf" in text and "max-age 86400 s, reports to https://r.test/" in text
    assert f"{A}  ECDSA secp256r1  primary, in service, served 9 days ago" in text
    assert f"{B}  ECDSA secp256r1  backup, made 8 days ago" in text
    assert C not in text and "safe now" in text


# Many keyrings


def test_many_keyrings_have_a_line_each() -> None:
    """Which key, whether a rollover is safe, and what is due next; and how to see more."""
    one = State(RING, LIVE, "/s.conf")
    states = [replace(one, keyring=replace(one.keyring, name=f"site{n:03}")) for n in range(25)]
    text = status.as_text(states, NOW)
    lines = text.splitlines()
    assert len(lines) == 29 and lines[-1].endswith("certbot-pinkeep status NAME")
    assert all(line.startswith(f"site{n:03}  ") for n, line in enumerate(lines[1:26]))
    assert one.keyring.in_service()[0].pin[:10] in lines[1]


@pytest.mark.parametrize(("terminal", "count"), [(True, 300), (True, 50), (False, 300)])
def test_progress_is_for_terminals_and_long_lists(
    terminal: bool, count: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of it stays, and nothing of it is piped."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert list(output.progress(range(count))) == list(range(count))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("20 of 300 keyrings" in printed.err) == (terminal and count == 300)
    assert printed.err == "" or printed.err.endswith(f"\r{'':40}\r")
