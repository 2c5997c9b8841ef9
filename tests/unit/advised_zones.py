"""What is said of zones that pin the keys of ports: rows for ``test_advice_followed.py``."""

from __future__ import annotations

import re

from followed import Row, gone, of, says_more, sound

from certbot_pinkeep.core.tlsa import Port, TlsaRecord
from simulated import states
from simulated.server import Said, Server

RENEW, CHECK = "certbot renew", "certbot-pinkeep check"
DNS, PIN = "certbot-pinkeep dns", "certbot-pinkeep pin"
_RECORD = re.compile(r"^_25\._tcp\.a\.test\. .*TLSA 3 1 1 ([0-9a-f]{64})$", re.M)


def entered(server: Server, said: Said) -> None:
    """The records that it prints are all that is missing, if they are entered."""
    found = frozenset(TlsaRecord(3, 1, 1, data) for data in _RECORD.findall(said.text))
    assert found, "it prints no records"
    server.zone.put(Port("a.test", 25, "smtp"), found)
    server.run(f"{DNS} a.test")
    server.sound()


ROWS = [
    *of(
        "workflow/zone",
        RENEW,
        Row(
            states.records_deleted_and_refused,
            "is not as it should be.",
            DNS,
            sound,
            first=states.zone_takes_changes,
        ),
        Row(
            states.name_server_silent,
            "is not as it should be.",
            DNS,
            sound,
            first=states.name_server_answers,
        ),
        Row(states.name_server_gone, "the list of --pinkeep-tlsa.", f"{DNS} a.test --gone", gone),
    ),
    *of(
        "workflow/zone",
        f"{RENEW} --force-renewal",
        Row(states.port_lags, "is not as it should be.", DNS, sound, first=states.port_loaded),
    ),
    *of(
        "check/zone_rules",
        CHECK,
        Row(states.records_deleted, "certbot-pinkeep dns ", DNS, sound),
        Row(states.zone_by_hand, "certbot-pinkeep dns ", DNS, entered),
        Row(
            states.name_server_silent,
            "certbot-pinkeep dns ",
            DNS,
            sound,
            first=states.name_server_answers,
        ),
        Row(states.port_lags, "certbot-pinkeep dns ", DNS, sound, first=states.port_loaded),
    ),
    *of(
        "core/explain",
        "certbot-pinkeep rollover a.test",
        Row(states.name_server_silent, "at each name", DNS, gone, first=states.name_server_answers),
    ),
    *of(
        "core/explain",
        "certbot-pinkeep unpin a.test",
        Row(
            states.name_server_silent,
            "Name servers may still have the records of",
            DNS,
            gone,
            first=states.name_server_answers,
        ),
    ),
    *of(
        "cli/dns",
        f"{DNS} a.test",
        Row(states.pinned, "has no ports whose keys are pinned in a zone.", PIN, says_more),
    ),
    *of(
        "carriers/zones/credentials",
        f"{DNS} a.test",
        Row(states.credentials_open, "users can read or change the credentials", "chmod 600", gone),
    ),
]
