"""What is published for a keyring: its pins and how long they bind. Pure.

The rules:

* A policy has at least two pins, none of them twice (RFC 7469 §2.5, §4.3; G4).
* A report-only policy is never noted by a client, so it binds nobody (RFC 7469 §2.3.2).
* ``max-age=0`` makes a client forget; it binds nobody either (RFC 7469 §2.3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from certbot_pinkeep.core import pins, times
from certbot_pinkeep.core.errors import BadHeader, BadPolicy
from certbot_pinkeep.core.header import Header, read_header, write_header

ENFORCED = "Public-Key-Pins"
REPORT_ONLY = "Public-Key-Pins-Report-Only"
#: In seconds: a max-age beyond it, which only an edited snippet can have, is for ever.
_EVER = times.LONGEST.total_seconds()


@dataclass(frozen=True)
class Policy(Header):
    """A policy as it is served: a header that may be published.

    :raises BadPolicy: if it must not be published
    """

    report_only: bool = False

    def __post_init__(self) -> None:
        if len(set(self.pins)) != len(self.pins):
            raise BadPolicy("A policy must not list a pin twice.")
        if len(self.pins) < 2:
            raise BadPolicy(
                "A policy needs at least two pins, a served one and a backup (RFC 7469 §4.3)."
            )
        if not all(pins.is_pin(pin) for pin in self.pins):
            raise BadPolicy(f"A policy lists what is not a pin: {', '.join(self.pins)}.")
        if self.max_age < 0:
            raise BadPolicy(f"A policy cannot have the max-age {self.max_age}.")

    @property
    def header_name(self) -> str:
        """The name of the header that carries it (RFC 7469 §2.1)."""
        return REPORT_ONLY if self.report_only else ENFORCED

    @property
    def header_value(self) -> str:
        """The value of the header that carries it (RFC 7469 §2.1)."""
        return write_header(self)

    @property
    def binding(self) -> timedelta:
        """How long it binds a client that noted it just now (RFC 7469 §2.3)."""
        return timedelta(0) if self.report_only else timedelta(seconds=min(self.max_age, _EVER))


def read_policy(value: str, *, report_only: bool) -> Policy | None:
    """Read a header's value as a policy; ``None``: it is none."""
    try:
        return Policy(**vars(read_header(value)), report_only=report_only)
    except (BadHeader, BadPolicy):
        return None
