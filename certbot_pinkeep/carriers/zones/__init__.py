"""Zones whose records pinkeep can write: one interface, whatever the provider.

The rules:

* The entry point group ``certbot_pinkeep.zones`` has a factory for each provider. Its name is that of the
  options in the credentials file: ``dns_rfc2136_server`` is one of ``rfc2136``.
* One change is made to all records of a zone that are to change, or none of it. The change is made only if
  the records are still what they were when they were read: nobody else's change is undone.
* A provider says only that it took a change. What is served is looked at afterwards (G13).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zope.interface import Interface

from certbot_pinkeep.core.zone_observations import Change as Change
from certbot_pinkeep.core.zone_observations import Records as Records

GROUP = "certbot_pinkeep.zones"


class IZone(Interface):  # type: ignore[misc, unused-ignore]
    """A provider that takes changes to zones. The factory of one is in the entry point group.

    The factory is called with the options of the credentials file: ``Mapping[str, str]``, by their names
    without ``dns_PROVIDER_``. The factory raises ``BadCredentials`` if an option is missing or cannot be
    used.
    """

    def read(zone: str, names: Sequence[str]) -> Mapping[str, Records]:  # type: ignore[empty-body]
        """Return the TLSA records that the provider has now at each of the names; empty: none.

        :param zone: the zone's name, with a dot at its end; so have the names
        :raises ZoneRefused: if the provider does not answer, or refuses
        """

    def change(zone: str, changes: Sequence[Change]) -> None:
        """Make the changes, all or none.

        :raises ZoneRefused: if the provider does not take them; it says why
        """
