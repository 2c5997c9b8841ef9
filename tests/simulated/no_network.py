"""No unit test reaches out to a network: hosts that are looked at before they are pinned show a
certificate of somebody else, and send no pins. What the other helpers build on imports this."""

from __future__ import annotations

from collections.abc import Sequence

from certbot_pinkeep.adapters import probe
from certbot_pinkeep.core.observations import TlsObservation

#: The real one.
glance = probe.glance


def somebody_else(names: Sequence[str], connect: object = None) -> list[TlsObservation]:
    """What hosts show that nobody here serves."""
    return [TlsObservation(name, certificate=b"of somebody else") for name in names]


setattr(probe, "glance", somebody_else)  # noqa: B010 - for good, in this process
