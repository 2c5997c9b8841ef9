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
from functools import partial, wraps
from typing import Any

from acme import client as acme_client
from certbot._internal import main as certbot_main

from certbot_pinkeep.adapters.certbot_config import expect
from certbot_pinkeep.core.errors import BadKey

logger = logging.getLogger(__name__)

_MARK = "_pinkeep"
_MARK_DELETED = "_pinkeep_deleted"
#: RFC 5280 §5.3.1, as certbot passes it on.
_KEY_COMPROMISE = 1


def watch_deletions(notice: Callable[[Any], None]) -> None:
    """Have *notice* called when ``certbot delete`` or ``certbot revoke`` has done its work.

    :param notice: takes certbot's configuration
    :raises Unsupported: if this certbot's functions are not the ones that are known
    """
    for verb in ("delete", "revoke"):
        original: Callable[..., Any] = getattr(certbot_main, verb)
        if hasattr(original, _MARK_DELETED):
            continue
        expect(original, [None, None])
        setattr(certbot_main, verb, _followed(original, notice))


def _followed(original: Callable[..., Any], notice: Callable[[Any], None]) -> Callable[..., Any]:
    @wraps(original)
    def followed(config: Any, plugins: Any) -> Any:
        result = original(config, plugins)
        try:
            notice(config)
        except Exception as error:
            logger.error("What becomes of the pins of a deleted certificate is unknown: %s", error)
        return result

    setattr(followed, _MARK_DELETED, True)
    return followed


def watch_revocations(notice: Callable[[Any, str, bool], None]) -> None:
    """Have *notice* called for each certificate that ``certbot revoke`` revokes.

    :param notice: takes certbot's configuration, the pin of the certificate's key, and whether the
        key is compromised
    :raises Unsupported: if this certbot's revocation is not one that is known
    """
    if hasattr(certbot_main.revoke, _MARK):
        return
    expect(certbot_main.revoke, [None, None])
    expect(acme_client.ClientV2.revoke, ["self", "cert", "rsn"])
    original: Callable[..., Any] = certbot_main.revoke

    @wraps(original)
    def revoke(config: Any, plugins: Any) -> Any:
        # No context manager: contextlib cannot pass on the errors of acme 2.1.
        unwatch = _watch(partial(_notice, notice, config))
        try:
            return original(config, plugins)
        finally:
            unwatch()

    setattr(revoke, _MARK, True)
    setattr(certbot_main, "revoke", revoke)  # noqa: B010 - read-only to type checkers only


def _watch(told: Callable[[Any, int], None]) -> Callable[[], None]:
    """Have each revocation that the CA accepts told; return what ends that."""
    original = acme_client.ClientV2.revoke

    @wraps(original)
    def revoke(self: acme_client.ClientV2, cert: Any, rsn: int) -> None:
        original(self, cert, rsn)
        told(cert, rsn)

    setattr(acme_client.ClientV2, "revoke", revoke)  # noqa: B010
    return partial(setattr, acme_client.ClientV2, "revoke", original)


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
        setattr(certbot_main, verb, _checked(getattr(certbot_main, verb), check))


def _checked(original: Callable[..., Any], check: Callable[[Any], None]) -> Callable[..., Any]:
    @wraps(original)
    def checked(config: Any, plugins: Any) -> Any:
        check(config)
        return original(config, plugins)

    return checked
