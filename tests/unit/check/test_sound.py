"""A sound site is silent, in whatever way it is sound."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.check import check
from certbot_pinkeep.core.key_and_csr import csr_request
from certbot_pinkeep.core.observations import FileInfo, Lineage, Seen, TlsObservation
from simulated.seen import (
    BELOW,
    COVERING,
    HOST,
    KEYRING,
    LEAVING,
    LEFT,
    LINEAGE,
    LIVE,
    LIVE_CERTIFICATE,
    OLD_CERTIFICATE,
    OLD_DER,
    OTHER,
    PKP,
    POLICY,
    REPORTING,
    REPORTS,
    REQUESTS,
    SHOWN,
    TRUE_HEADER,
    ended,
    lineage,
    shows,
    sound,
    with_key,
)
from simulated.values import DAY, NOW, B, C, policy, ring_key

SOUND = {
    "as it should be": sound(),
    "a snippet of version 0.1, which names no hosts": sound(
        snippet=apache.render(KEYRING, POLICY).partition(" && ")[0] + '"\n</IfModule>\n'
    ),
    "pins in another order": sound(**shows((PKP, policy(B, LIVE).header_value))),
    "an offline backup": sound(keyring=with_key(path=None), requests=REQUESTS),
    "an offline backup without a CSR": sound(
        keyring=with_key(path=None),
        requests=frozenset({csr_request(LIVE, [HOST], must_staple=False)}),
    ),
    "a retired key": sound(keyring=KEYRING.with_keys([ring_key(C, "retired")])),
    "a rollover that is held": sound(
        ended(POLICY, policy(LIVE, C)), keyring=KEYRING.mark_for_retirement()
    ),
    "another site for a wildcard": sound(
        shown=(SHOWN, replace(SHOWN, host=OTHER, guessed=True, headers=(), distrust="name"))
    ),
    "a type that no certificate has": sound(
        shown=(
            SHOWN,
            TlsObservation(HOST, stopped="type", error="handshake failure", key_type="rsa"),
        )
    ),
    "reports as well": sound(**shows(TRUE_HEADER, REPORTS)),
    "reports only": sound(REPORTING, **shows(REPORTS)),
    "unpinning": sound(
        LEAVING, unpin=True, **shows((PKP, policy(LIVE, B, max_age=0).header_value))
    ),
    "unpinned, header to go": sound(
        LEFT, unpin=True, **shows((PKP, policy(LIVE, B, max_age=0).header_value))
    ),
    "unpinned": sound(LEFT, unpin=True, shown=(replace(SHOWN, headers=()),), snippet="# nothing\n"),
    "a group that reads the live key": sound(places=(FileInfo("/l", "live key", 0o640, 0),)),
    "a group that writes the admin's own folder": sound(
        places=(FileInfo("/snippets", "foreign snippets", 0o775, 0),), owner=1000
    ),
    "a late renewal that was chosen": sound(
        **lineage(
            live=replace(LIVE_CERTIFICATE, begin=NOW - 83 * DAY, end=NOW + 7 * DAY),
            renew_before=10 * DAY,
        )
    ),
    "another one was deleted": sound(lineages=(LINEAGE, Lineage("gone", deleted=True))),
    "not covered, without includeSubDomains": sound(others=(BELOW,)),
    "the live certificate of a lineage that is not enrolled": sound(
        others=(OLD_CERTIFICATE,), **shows(certificate=OLD_DER)
    ),
    "covered with a pinned key": sound(
        COVERING,
        others=(replace(BELOW, pin=B),),
        **shows((PKP, policy(LIVE, B, include_subdomains=True).header_value)),
    ),
}


@pytest.mark.parametrize("seen", SOUND.values(), ids=list(SOUND))
def test_nothing_is_said_of_what_is_sound(seen: Seen) -> None:
    """Warnings are rare enough to be read."""
    now = NOW + 100 * DAY if seen.state.ledger is LEFT else NOW
    if now != NOW:
        fresh = replace(LIVE_CERTIFICATE, end=now + 60 * DAY)
        lineages = tuple(replace(one, live=one.live and fresh) for one in seen.lineages)
        seen = replace(seen, lineages=lineages)
    assert check(seen, now) == []
