"""Which options count for a lineage.

The rules:

* What is given in this run comes first. Then what pinkeep 0.1 had certbot store for the lineage. Then what
  the file of its keyring has.
* What was stored for a lineage before it joins a keyring does not count: it is from another one.
* A new keyring takes over the options of the keyring that its first lineage comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from certbot_pinkeep.core.errors import DamagedState
from certbot_pinkeep.storage.store import Store


def values(
    store: Store,
    lineage: str,
    given: Mapping[str, object],
    remembered: Mapping[str, str],
    by_host: Callable[[], str | None] | None = None,
) -> dict[str, object]:
    """Return the options that count.

    :param given: by their names without ``--pinkeep-``; ``None``: not given
    :param remembered: what the lineage's renewal file has from 0.1
    :param by_host: finds the keyring of the lineage's hosts, if none is named for it and none has it
    """
    named = given.get("keyring")
    named = remembered.get("keyring") if named is None else named
    if named is None:
        named = store.keyring_of(lineage) or (by_host() if by_host else None) or lineage
    keyring = str(named)
    settings = _settings(store, keyring)
    if settings is None:
        settings = _settings(store, store.keyring_of(lineage)) or {}
    elif not store.has(keyring, lineage):
        remembered = {}
    found = {
        name: remembered.get(name, settings.get(name)) if value is None else value
        for name, value in given.items()
    }
    found["keyring"] = None if keyring == lineage else keyring
    return found


def _settings(store: Store, keyring: str | None) -> Mapping[str, str] | None:
    """Return the options of a keyring; ``None``: it has no file that can be trusted."""
    with suppress(DamagedState):
        state = store.load(keyring) if keyring is not None else None
        return state.settings if state is not None else None
    return None
