"""The guard in certbot: whatever verb and installer, a pinned lineage gets pinned keys only (G11).

The rules:

* Every verb renews through ``renewal.renew_cert``, and makes a new lineage through
  ``Client.obtain_and_enroll_certificate``. Both are wrapped once, when certbot loads the plugin.
* Which lineages are pinned, and what becomes of them, the door decides. A lineage that is not pinned goes
  through unchanged (G9).
* For a pinned lineage certbot keeps the key (``reuse_key``), and notes that in the renewal file. A certbot
  that lacks the plugin then keeps the key, too.
* ``--new-key`` asks for a rollover. What the admin asked for beside that does not count is said.
* The installer that the admin chose deploys first. After that the lineage is brought up to date: by
  ``renew`` after each lineage, due or not, by the other verbs at their end.
* If a private part is not there or takes other arguments, nothing is wrapped here. See ``certbot_watch``
  for what happens then.
* It may be unknown whether a lineage is pinned. Then its key is kept in this run, and nothing is noted in its
  renewal file (G8, G9). A new lineage is not issued then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from certbot import errors
from certbot._internal import client as certbot_client
from certbot._internal import main as certbot_main
from certbot._internal import renewal as certbot_renewal
from certbot._internal import updater as certbot_updater

from certbot_pinkeep.adapters.certbot_client import Pinning, acting_for
from certbot_pinkeep.adapters.certbot_config import (
    announce_guard,
    expect,
    instead,
    is_given,
    lineage_of,
    lowered,
)
from certbot_pinkeep.core import text
from certbot_pinkeep.core.errors import PinkeepError

logger = logging.getLogger(__name__)

#: The verbs that deal with one lineage; certbot calls each with its configuration and the plugins.
VERBS = ("certonly", "run", "install", "reconfigure")


class Guarding(Pinning, Protocol):
    """What is done with a pinned lineage."""

    rollover_asked: bool

    def overrule(self, lineage: str, given: Mapping[str, str]) -> None:
        """Say which of these flags do not count, because the lineage is pinned.

        :param given: their values; empty: it has none
        """


class Door(Protocol):
    """What decides which lineages are pinned."""

    def asked(
        self, config: Any, installer: Any, lineage: str | None, names: Sequence[str]
    ) -> Guarding | None:
        """Return the guard of a lineage; ``None``: it is not pinned.

        :param lineage: that is to be renewed; ``None``: it is a new one
        :param names: of the new certificate; empty: those of the live one
        """

    def updating(self, config: Any, lineage: Any) -> None:
        """``certbot renew`` has had this lineage, due or not."""

    def ending(self, config: Any) -> None:
        """Bring up to date what a verb has changed."""


def guard(door: Door) -> None:
    """Have certbot ask the door about each lineage.

    :raises Unsupported: if this certbot's functions are not the ones that are known
    """
    expect(certbot_renewal.renew_cert, ["config", None, "le_client", "lineage"])
    expect(certbot_client.Client.obtain_and_enroll_certificate, ["self", None, "certname"])
    verbs = [verb for verb in VERBS if hasattr(certbot_main, verb)]  # 2.1 has no reconfigure
    for verb in verbs:
        expect(getattr(certbot_main, verb), ["config", "plugins"])
    expect(certbot_updater.run_generic_updaters, ["config", "lineage", "plugins"])
    instead(certbot_renewal, "renew_cert", partial(_renew, door))
    instead(certbot_client.Client, "obtain_and_enroll_certificate", partial(_request, door))
    instead(certbot_updater, "run_generic_updaters", partial(_update, door))
    for verb in verbs:
        instead(certbot_main, verb, partial(_end, door))
    announce_guard()


def _renew(
    door: Door,
    original: Callable[..., None],
    config: Any,
    names: Sequence[Any] | None,
    le_client: Any,
    lineage: Any,
) -> None:
    asked, live = lowered(names), lineage_of(config, lineage)
    try:
        pinned = door.asked(config, le_client.installer, live, asked)
    except Exception as error:
        told = "pinkeep cannot tell whether %s is pinned, so certbot keeps its key: %s"
        logger.error(told, live, text.short(error, text.LONGEST))
        original(config, names, _with_live_key(config, le_client, lineage), lineage)
        return
    if pinned is None:
        original(config, names, le_client, lineage)
        return
    given = _asked(config)
    _keep_key(config, pinned)
    acting_for(pinned, partial(original, config, names, le_client, lineage))
    if given:
        pinned.overrule(live, given)


def _with_live_key(config: Any, le_client: Any, lineage: Any) -> Any:
    """Return a client that obtains certificates for the live key, whatever certbot asks it for.

    What the renewal file says of the key stays. The lineage may be somebody else's, or pinned.
    """
    if lineage.configuration["renewalparams"].get("reuse_key") == "True":
        config.reuse_key = True  # certonly would take it out
    return _LiveKey(le_client, os.path.normpath(lineage.privkey))


class _LiveKey:
    """A client of certbot's that obtains certificates for one key."""

    def __init__(self, client: Any, key_path: str) -> None:
        self._client = client
        self._key_path = key_path

    def obtain_certificate(self, names: Sequence[Any], _: str | None = None) -> Any:
        """Obtain a certificate for that key, with all names."""
        config = self._client.config
        subset = config.allow_subset_of_names
        if not subset:
            return self._client.obtain_certificate(names, self._key_path)
        config.allow_subset_of_names = False  # certbot 2.1 deletes the key if it leaves a name out
        try:
            return self._client.obtain_certificate(names, self._key_path)
        finally:
            config.allow_subset_of_names = subset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def _request(
    door: Door, original: Callable[..., Any], client: Any, names: Sequence[Any], certname: Any
) -> Any:
    asked = lowered(names)
    try:
        pinned = door.asked(client.config, client.installer, None, asked)
    except Exception as error:
        raise errors.Error(
            "pinkeep cannot tell whether a host of the new certificate is pinned, so none was issued: "
            f"{error}"
        ) from error
    if pinned is None:
        return original(client, names, certname)
    _keep_key(client.config, pinned)
    return acting_for(pinned, partial(original, client, names, certname))


def _keep_key(config: Any, pinned: Guarding) -> None:
    """Have certbot keep the key, and note that. If certbot was to make a new key, ask for a rollover."""
    config.reuse_key = True
    if config.new_key:
        config.new_key = False
        pinned.rollover_asked = True


def _asked(config: Any) -> dict[str, str]:
    """Return what the admin gave that may not count for a pinned lineage: flags, and their values."""
    asked = {"--new-key": ""} if config.new_key else {}
    if is_given(config, "reuse_key") and not config.reuse_key:
        asked["--no-reuse-key"] = ""
    if is_given(config, "key_type"):
        asked["--key-type"] = str(config.key_type).lower()
    return asked


def _update(
    door: Door, original: Callable[..., None], config: Any, lineage: Any, plugins: Any
) -> None:
    original(config, lineage, plugins)
    if not config.dry_run:
        _plainly(door.updating, config, lineage)


def _end(door: Door, original: Callable[..., Any], config: Any, plugins: Any) -> Any:
    result = original(config, plugins)
    if not config.dry_run:
        _plainly(door.ending, config)
    return result


def _plainly(does: Callable[..., None], *words: Any) -> None:
    """Do it; what goes wrong is certbot's to tell, in a sentence: certbot has done its own work by then."""
    try:
        does(*words)
    except PinkeepError as error:
        raise errors.Error(str(error)) from error
    except Exception as error:
        told = f"pinkeep cannot tell whether the pinned certificates are up to date: {error}"
        raise errors.Error(text.short(told, text.LONGEST)) from error
