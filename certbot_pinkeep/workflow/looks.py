"""The looks at the zones and ports of one run, and the questions to its providers, in limited time.

The rules:

* Certbot waits for all of that. So one time limit holds for the zones of all keyrings together. If it is
  over, no look and no change begins any more. The next run begins anew.
* The first looks of all keyrings are made side by side: zones whose name servers are dead take no time from
  the others.
* A provider has a time limit for each answer, whatever it sends meanwhile.
* What cannot be looked at may be anything (G3, G8): no look raises.
* Name servers are given a few seconds for what was just written. A port may show a key for a short time which
  is live no more. All looks after that count: one of several processes may have been forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.adapters.threads import Pool, in_time, results
from certbot_pinkeep.core import zone
from certbot_pinkeep.core.errors import PinkeepError, ZoneRefused
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone_observations import (
    MailHost,
    OwnerObservation,
    PortObservation,
    Records,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")
#: Seconds: for all zones of a run, and for an answer of a provider.
LIMIT, _ANSWER = 60.0, 30.0
#: So many keyrings are looked at side by side.
_TOGETHER = 8
#: How often, and with which pauses in seconds, name servers are asked for what was just written.
_PATIENCE = (0.2, 0.5, 1.0, 2.0)
#: How long a server that was reloaded may go on with the old key, in seconds.
_MOMENT = 2.0
#: How often a port is looked at that showed a key which is live no more.
_LOOKS = 3
Ports = tuple[Port, ...]


@dataclass(frozen=True)
class Eyes:
    """How zones and ports are looked at and written. Nothing but ``provider`` raises.

    :ivar records: what the name servers show of each port's records
    :ivar services: what the ports show
    :ivar mail_hosts: the MX hosts of the zones whose port 25 was looked at
    :ivar provider: makes the ``IZone`` of a credentials file
    """

    records: Callable[[Sequence[Port]], list[OwnerObservation]]
    services: Callable[[Sequence[Port]], list[PortObservation]]
    provider: Callable[[str], Any]
    mail_hosts: Callable[[Sequence[OwnerObservation]], Sequence[MailHost]] = lambda looks: ()
    sleep: Callable[[float], None] = clock.pause


def real() -> Eyes:
    """Return what looks at this machine's name servers and ports."""
    from certbot_pinkeep.adapters import dns, ports
    from certbot_pinkeep.carriers.zones import credentials

    return Eyes(dns.look, ports.look, credentials.load, dns.mail_hosts)


class Looks:
    """All looks of one run.

    :param open_eyes: makes what looks, at the first look
    """

    def __init__(self, open_eyes: Callable[[], Eyes]) -> None:
        self._open = open_eyes
        self._began = clock.seconds()
        self._records: dict[Ports, list[OwnerObservation]] = {}
        self._services: dict[Ports, list[PortObservation]] = {}
        self._providers: dict[str, Any] = {}

    @cached_property
    def _eyes(self) -> Eyes:
        return self._open()

    @property
    def _left(self) -> float:
        return LIMIT - (clock.seconds() - self._began)

    def check_time(self, name: str) -> None:
        """Check that a keyring's turn can begin.

        :raises PinkeepError: if no time is left
        """
        if self._left <= 0:
            raise PinkeepError(
                f"pinkeep did not look at the zone of the keyring {name}: the zones of other keyrings took "
                f"longer than {LIMIT:g} seconds.",
                run=f"certbot-pinkeep dns {name}",
            )

    def ahead(self, wanted: Sequence[tuple[Ports, Ports]]) -> None:
        """Look at keyrings side by side; what was seen is returned once by the next look at the same ports.

        :param wanted: for each, the ports whose records, and the ports whose keys are looked at
        """
        if len(wanted) < 2:
            return
        with Pool(2 * _TOGETHER) as pool:
            records = [(one, pool.submit(self._records_of, one)) for one, _ in wanted]
            services = [(one, pool.submit(self._services_of, one)) for _, one in wanted]
            results([future for _, future in (*records, *services)])
            self._records = {ports: future.result() for ports, future in records}
            self._services = {ports: future.result() for ports, future in services}

    def records(self, ports: Ports | Sequence[Port]) -> list[OwnerObservation]:
        """Look at the records of ports."""
        seen = self._records.pop(tuple(ports), None)
        return self._records_of(ports) if seen is None else seen

    def _records_of(self, ports: Sequence[Port]) -> list[OwnerObservation]:
        if self._left <= 0:
            return [OwnerObservation(one, one.owner, error=_NO_TIME) for one in ports]
        try:
            return self._eyes.records(ports)
        except Exception as error:
            why = _why(error)
            return [OwnerObservation(port, port.owner, error=why) for port in ports]

    def services(self, ports: Sequence[Port]) -> list[PortObservation]:
        """Look at ports."""
        seen = self._services.pop(tuple(ports), None)
        return self._services_of(ports) if seen is None else seen

    def _services_of(self, ports: Sequence[Port]) -> list[PortObservation]:
        if self._left <= 0:
            return [PortObservation(one, "", error=_NO_TIME) for one in ports]
        try:
            return self._eyes.services(ports)
        except Exception as error:
            why = _why(error)
            return [PortObservation(port, "", error=why) for port in ports]

    def loaded_services(self, keyring: Keyring, ports: Sequence[Port]) -> list[PortObservation]:
        """Look at ports, and anew if one shows a key that is live no more."""
        shown = self.services(ports)
        if not zone.stale(keyring, shown):
            return shown
        self._eyes.sleep(_MOMENT)
        looks = [one for _ in range(_LOOKS) for one in self.services(ports)]
        return list(dict.fromkeys(looks))

    def see(
        self, ports: Ports, looks: list[OwnerObservation], written: Mapping[str, Records]
    ) -> list[OwnerObservation]:
        """Look until every name server has what was written, or patience is at its end.

        :param looks: what was seen before
        :param written: by the name that has the records
        """
        for pause in (0.0, *_PATIENCE):
            if self._left <= 0:
                break
            if pause:
                self._eyes.sleep(pause)
            looks = self.records(ports)
            if all(one.agreed == written[one.name] for one in looks if one.name in written):
                break
        return looks

    def provider(self, credentials: str) -> Any:
        """Return the provider that a credentials file is for."""
        if credentials not in self._providers:
            self._providers[credentials] = self._eyes.provider(credentials)
        return self._providers[credentials]

    def in_time(self, origin: str, call: Callable[[], T]) -> T:
        """Return what a provider answers.

        :raises ZoneRefused: if it does not answer in time
        """
        seconds = min(_ANSWER, self._left)
        if seconds <= 0:
            raise ZoneRefused(f"The provider of the zone {origin} was not asked: {_NO_TIME}.")
        try:
            return in_time(call, seconds)
        except TimeoutError:
            why = f"The provider of the zone {origin} did not answer within {seconds:g} seconds."
            raise ZoneRefused(why) from None


_NO_TIME = f"the looks took longer than {LIMIT:g} seconds"


def _why(error: Exception) -> str:
    if isinstance(error, PinkeepError):
        logger.error("%s", error)
        return f"nobody could look ({error.what.rstrip('.')})"
    logger.debug("A look failed", exc_info=error)
    return f"nobody could look ({type(error).__name__}: {error})"
