"""Noticing ``certbot revoke`` and ``certbot delete``, for which certbot makes no installer.

The rules:

* Each verb is wrapped once, where certbot starts it.
* Only what the CA accepted as revoked counts.
* Nothing that goes wrong in noticing stops certbot (G9).
* If a certbot cannot be guarded, the verbs that issue certificates are told apart here (fail closed).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from acme import client as acme_client
from certbot._internal import main as certbot_main

from certbot_pinkeep.adapters.certbot_config import expect, instead
from certbot_pinkeep.core.errors import BadKey

logger = logging.getLogger(__name__)

#: RFC 5280 §5.3.1, as certbot passes it on.
_KEY_COMPROMISE = 1


def watch_deletions(notice: Callable[[Any], None]) -> None:
    """Have *notice* called when ``certbot delete`` or ``certbot revoke`` has done its work.

    :param notice: takes certbot's configuration
    :raises Unsupported: if this certbot's functions are not the ones that are known
    """
    for verb in ("delete", "revoke"):
        expect(getattr(certbot_main, verb), [None, None])
        instead(certbot_main, verb, partial(_followed, notice))


def _followed(
    notice: Callable[[Any], None], original: Callable[..., Any], config: Any, plugins: Any
) -> Any:
    result = original(config, plugins)
    try:
        notice(config)
    except Exception as error:
        logger.error("What becomes of the pins of a deleted certificate is unknown: %s", error)
    return result


def watch_revocations(notice: Callable[[Any, str, bool], None]) -> None:
    """Have *notice* called for each certificate that ``certbot revoke`` revokes.

    :param notice: takes certbot's configuration, the pin of the certificate's key, and whether the
        key is compromised
    :raises Unsupported: if this certbot's revocation is not one that is known
    """
    expect(certbot_main.revoke, [None, None])
    expect(acme_client.ClientV2.revoke, ["self", "cert", "rsn"])
    instead(certbot_main, "revoke", partial(_watched, notice))


def _watched(
    notice: Callable[[Any, str, bool], None],
    original: Callable[..., Any],
    config: Any,
    plugins: Any,
) -> Any:
    def revoke(ask_ca: Callable[..., None], client: Any, cert: Any, rsn: int) -> None:
        ask_ca(client, cert, rsn)
        _notice(notice, config, cert, rsn)

    # No context manager: contextlib cannot pass on the errors of acme 2.1.
    put_back = instead(acme_client.ClientV2, "revoke", revoke)
    try:
        return original(config, plugins)
    finally:
        put_back()


def _notice(
    notice: Callable[[Any, str, bool], None], config: Any, certificate: Any, reason: int
) -> None:
    from certbot_pinkeep.core import pins
    from certbot_pinkeep.core.pem import usable

    try:
        if hasattr(certificate, "wrapped"):  # as acme 2.1 has it
            certificate = certificate.wrapped.to_cryptography()
        pin = pins.pin_of(usable(certificate.public_key()))
        notice(config, pin, reason == _KEY_COMPROMISE)
    except BadKey:
        return  # a key that could not have been pinned
    except Exception as error:
        logger.error(
            "The certificate is revoked, but that could not be noted for the pinned keys: %s "
            "If its key is pinned, ask for a rollover. Add --compromised if others may have the key.\n"
            "Run: certbot-pinkeep rollover NAME --when-safe",
            error,
        )


def before_issuing(check: Callable[[Any], None]) -> None:
    """Have *check* called before each verb that issues certificates.

    :param check: takes certbot's configuration, and may raise an error of certbot's
    """
    for verb in ("renew", "certonly", "run"):
        instead(certbot_main, verb, partial(_checked, check))


def _checked(
    check: Callable[[Any], None], original: Callable[..., Any], config: Any, plugins: Any
) -> Any:
    check(config)
    return original(config, plugins)
