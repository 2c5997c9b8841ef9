"""Handing the saved CSR to certbot's client: the one module that knows certbot's private parts.

The rules:

* Certbot's renewal has no public place to hand over a CSR. ``Client.obtain_certificate`` is wrapped
  once, and acts only for a lineage that is pinned (G9); it calls what ``certbot --csr`` calls.
* If a private part is not there or takes other arguments, the wrapping is refused with an error.
  ``reuse_key``, which the installer sets, still keeps the key then (G1).
* What the CA returns is compared with the key before certbot gets to store it (G1).
* The live key's file is certbot's to read first, and may be damaged: the keyring has the key (G3).
* A key that the CA refuses as compromised or blocked is not handed over again; the next one that
  clients accept is, at once (G3).
* After the CA has issued the certificate, and before certbot stores it, the record is read again. Its key has
  to be the one that was handed over, or the live one. If not, certbot does not store the certificate, and
  obtains one for the right key at once (G2, G3).
* A command that promises that a rollover is safe, or takes that back, holds certbot's lock.
* A backup whose kind of key the CA does not take holds no renewal up either: the next key that
  clients accept is handed over at once, at last the present one (G3).
* This module is loaded at every certbot run: what is needed only when it acts, is imported there.
* ``certbot run`` says that HTTPS is enabled, whatever the installer did. With pinkeep it says what is true.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from acme import errors as acme_errors
from acme import messages
from certbot import errors, util
from certbot._internal import client as certbot_client
from certbot._internal import main as certbot_main
from certbot._internal import renewal as certbot_renewal
from certbot.display import util as display_util

from certbot_pinkeep.adapters.certbot_config import INSTALLER, expect, instead, lowered
from certbot_pinkeep.core import text
from certbot_pinkeep.core.errors import (
    BadKey,
    KeyRefused,
    PinkeepError,
    WrongKeyIssued,
)

if TYPE_CHECKING:
    from certbot_pinkeep.core.key_and_csr import KeyAndCsr

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
Obtained = tuple[bytes, bytes, util.Key, util.CSR]
#: Whom the client asks just now, whatever its installer is.
_acting: list[Pinning] = []
#: How often a certificate is obtained anew because the record changed meanwhile.
_TRIES = 3
# RFC 8555 §6.7 has no type of its own for it. Boulder says "badCSR" and "public key is forbidden".
_REFUSING = ("badPublicKey", "badCSR")
_REFUSED = re.compile(
    r"\bkey (?:(?:is|was|has been|is known to be) )?(?:forbidden|blocked|compromised|revoked)"
    r"|\bkey (?:is|was|has been) (?:found )?[io]n (?:a|the) (?:block|black|deny)-?list"
    r"|(?:block(?:ed|-?listed)|blacklisted|compromised|weak|revoked) (?:public )?key\b",
    re.I,
)


class Pinning(Protocol):
    """What the installer answers to."""

    def handover(
        self, names: Sequence[str], live_key_path: str | None, *, dry_run: bool
    ) -> KeyAndCsr | None:
        """Return the key and CSR for a certificate; ``None``: certbot makes them as ever."""

    def is_still_chosen(self, names: Sequence[str], live_key_path: str | None, pin: str) -> bool:
        """Return whether the key of this pin may still be used, by what is on record now."""

    def issued(self, certificate: bytes) -> None:
        """Note that a certificate was issued, and certbot is about to store it."""

    def refused(self, refusal: KeyRefused) -> None:
        """Note that the CA refuses the key that was handed over."""

    def csr_rejected(self, pin: str) -> bool:
        """Return the CA does not take the CSR of this key. Whether it is a backup, and is not handed over
        again in this run."""

    def report_rejected_backup(self, pin: str, why: str) -> None:
        """Tell that a certificate was issued without this backup, and why the CA does not take it."""

    def is_compromised(self, live_key_path: str) -> bool:
        """Return whether the live key is known to be compromised."""


def acting_for(pinning: Pinning, does: Callable[[], _T]) -> _T:
    """Do it, and have the client ask *pinning* for keys meanwhile, whatever its installer is."""
    _acting.append(pinning)
    try:  # no context manager: contextlib cannot pass on the errors of acme 2.1
        return does()
    finally:
        _acting.pop()


def wrap(pinning_of: Callable[[Any], Pinning | None]) -> None:
    """Make certbot's client ask for a key and a CSR.

    :param pinning_of: whom to ask, by the client's installer; ``None``: nobody
    :raises Unsupported: if this certbot's client is not one that is known
    """
    expect(certbot_client.Client.obtain_certificate, ["self", None, "old_keypath"])
    expect(certbot_client.Client.obtain_certificate_from_csr, ["self", "csr", "orderr"])
    expect(certbot_client.Client._get_order_and_authorizations, ["self", "csr_pem", "best_effort"])
    expect(certbot_renewal._avoid_reuse_key_conflicts, ["config", "lineage"])
    instead(certbot_client.Client, "obtain_certificate", partial(_obtain_certificate, pinning_of))
    instead(certbot_renewal, "_avoid_reuse_key_conflicts", _avoid_reuse_key_conflicts)
    if hasattr(certbot_renewal, "_update_renewal_params_from_key"):
        instead(certbot_renewal, "_update_renewal_params_from_key", _update_from_key)


def _obtain_certificate(
    pinning_of: Callable[[Any], Pinning | None],
    original: Callable[..., Obtained],
    client: Any,
    names: Sequence[Any],
    old_keypath: str | None = None,
) -> Obtained:
    pinning = _acting[-1] if _acting else pinning_of(client.installer)
    own_way = partial(original, client, names, old_keypath)
    if pinning is None:
        return own_way()
    order = _Order(client, pinning, names, old_keypath, own_way)
    try:
        obtained = order.obtain()
    except PinkeepError as error:
        raise errors.Error(str(error)) from error
    if not order.dry_run:
        pinning.issued(obtained[0])
    return obtained


@dataclass(frozen=True)
class _Order:
    """A certificate that is obtained for a pinned lineage.

    :ivar client: certbot's
    :ivar names: of the certificate
    :ivar old_keypath: the live key that certbot is to keep; ``None``: the lineage is new
    :ivar own_way: obtains a certificate as certbot does
    """

    client: Any
    pinning: Pinning
    names: Sequence[Any]
    old_keypath: str | None
    own_way: Callable[[], Obtained]

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be stored. The client knows: ``certbot reconfigure`` simulates with a copy
        of the plugin's configuration."""
        return bool(self.client.config.dry_run)

    def obtain(self) -> Obtained:
        """Obtain a certificate for the right key."""
        handed = self._ask()
        if handed is None:
            return self.own_way()
        obtained = self._obtain_somehow(handed)
        return obtained if self.dry_run else self._looked_at_again(obtained)

    def _ask(self) -> KeyAndCsr | None:
        names, old_keypath = lowered(self.names), self.old_keypath
        try:
            return self.pinning.handover(names, old_keypath, dry_run=self.dry_run)
        except PinkeepError:
            raise
        except Exception as error:
            # A renewal goes on with the live key (G3), unless certbot 2.1 would delete it.
            if old_keypath is None or self.client.config.allow_subset_of_names:
                raise
            if self.pinning.is_compromised(old_keypath):
                raise PinkeepError(
                    f"The key {old_keypath} is compromised, so pinkeep does not hand it over again. "
                    f"pinkeep cannot tell which other key to use: {error}"
                ) from error
            told = text.short(error, text.LONGEST)
            logger.error("pinkeep cannot hand over a CSR; the live key is kept: %s", told)
            return None

    def _obtain_somehow(self, handed: KeyAndCsr) -> Obtained:
        """Obtain a certificate for the key. If the CA refuses it, obtain one for the next key.

        If the CA refuses the next key as well, it refuses the request, not the key: nothing more is noted.
        """
        try:
            return _obtain(self, handed)
        except (messages.Error, acme_errors.Error) as error:
            refusal = _refusal(error, handed.pin)
            if refusal is None:
                return self._obtain_without(handed, error)
            if self.dry_run:
                raise refusal from error
            logger.error("%s", refusal)
            self.pinning.refused(refusal)
            again = self._ask()
            if again is None or again.pin == handed.pin:
                raise refusal from error
        return _obtain(self, again)

    def _looked_at_again(self, obtained: Obtained) -> Obtained:
        """Return what was obtained, if its key is still the right one by what is on record now; else a
        certificate for the key that is.

        :raises PinkeepError: if there is none, or the record keeps changing
        """
        from certbot_pinkeep.core import pins

        for _ in range(_TRIES):
            pin = pins.pin_of_certificate(obtained[0])
            if self._is_still_chosen(pin):
                return obtained
            again = self._ask()
            if again is not None and again.pin == pin:
                return obtained
            logger.warning(
                "The record of the pinned keys changed while the CA issued a certificate for the key with "
                "the pin %s. Clients might refuse this key now. pinkeep does not store that certificate, and "
                "obtains another one.",
                pin,
            )
            obtained = self.own_way() if again is None else self._obtain_somehow(again)
        if self._is_still_chosen(pins.pin_of_certificate(obtained[0])):
            return obtained
        raise PinkeepError(
            "The record of the pinned keys changed each time that the CA issued a certificate.",
            "certbot stored no new certificate, and keeps the old one.",
            run="certbot renew",
        )

    def _is_still_chosen(self, pin: str) -> bool:
        names = lowered(self.names)
        try:
            return bool(self.pinning.is_still_chosen(names, self.old_keypath, pin))
        except Exception as error:  # it is asked again which key to use, which tells what is wrong
            logger.debug("Whether the key %s is still the right one is unknown: %s", pin, error)
            return False

    def _obtain_without(self, handed: KeyAndCsr, error: Exception) -> Obtained:
        """Obtain a certificate for another key than backups whose CSRs the CA does not take.

        :raises messages.Error, acme_errors.Error: *error*, if it is about something else
        """
        rejected: dict[str, str] = {}
        while _said_of_csr(error) and self.pinning.csr_rejected(handed.pin):
            rejected[handed.pin] = _said_of_csr(error)
            again = self._ask()
            if again is None or again.pin == handed.pin:
                break
            handed = again
            try:
                obtained = _obtain(self, handed)
            except (messages.Error, acme_errors.Error) as next_error:
                error = next_error
                continue
            # Only now: what the CA takes for no key at all is the request.
            for pin, why in rejected.items():
                self.pinning.report_rejected_backup(pin, why)
            return obtained
        raise error


def _rejection(error: Exception) -> messages.Error | None:
    """Return what the CA says against the key or the CSR; ``None``: it says something else."""
    problem = getattr(error, "error", error)  # that of an order, in the error about the order
    if isinstance(problem, messages.Error) and problem.code in _REFUSING:
        return problem
    return None


def _said_of_csr(error: Exception) -> str:
    """Return what the CA says against the CSR; empty when it says something else."""
    problem = _rejection(error)
    return text.short(problem.detail or problem.code) if problem else ""


def _refusal(error: Exception, pin: str) -> KeyRefused | None:
    """Return what the CA says against the key; ``None`` when it says something else."""
    problem = _rejection(error)
    said = str(problem.detail or "") if problem else ""
    return KeyRefused(pin, said) if _REFUSED.search(said) else None


def _obtain(order: _Order, handed: KeyAndCsr) -> Obtained:
    client, names = order.client, order.names
    csr = util.CSR(handed.csr.path, handed.csr.pem, "pem")
    logger.info("Handing over the CSR %s of the key with the pin %s.", csr.file, handed.pin)
    if client.config.allow_subset_of_names:
        remaining, obtained = _obtain_subset(client, names, csr)
        if not remaining:
            raise errors.Error("The CA accepts none of the names: " + ", ".join(map(str, names)))
        if obtained is None:
            _tell_dropped(names, remaining)
            again: Obtained = client.obtain_certificate(remaining, order.old_keypath)
            return again
        certificate, chain = obtained
    else:
        certificate, chain = client.obtain_certificate_from_csr(csr)
    _compare(certificate, handed)
    return certificate, chain, util.Key(handed.key_path, handed.key_pem), csr


def _obtain_subset(
    client: Any, names: Sequence[Any], csr: util.CSR
) -> tuple[list[Any], tuple[bytes, bytes] | None]:
    """Obtain a certificate for all names, or tell which ones the CA accepts.

    Certbot's own method would retry with a key of its own, and certbot 2.1 would delete ours.
    """
    try:
        order = client._get_order_and_authorizations(csr.data, True)
        accepted = {authorization.body.identifier.value for authorization in order.authorizations}
        remaining = [name for name in names if str(name) in accepted]
        if len(remaining) == len(names):
            return remaining, client.obtain_certificate_from_csr(csr, order)
    except messages.Error as error:
        refused = {
            problem.identifier.value for problem in error.subproblems or () if problem.identifier
        }
        remaining = [name for name in names if str(name) not in refused]
        if len(remaining) in (0, len(names)):
            raise
    return remaining, None


def _tell_dropped(names: Sequence[Any], remaining: Sequence[Any]) -> None:
    dropped = ", ".join(str(name) for name in names if name not in remaining)
    display_util.notify(
        "Unable to obtain a certificate with every requested name. Retrying without: " + dropped
    )


def _compare(certificate: bytes, handed: KeyAndCsr) -> None:
    from certbot_pinkeep.core import pins

    try:
        issued = pins.pin_of_certificate(certificate)
    except BadKey as error:
        raise WrongKeyIssued(
            f"What the CA issued cannot be compared with the pinned key: {error}",
            "certbot did not store it, and keeps the old certificate.",
        ) from error
    if issued != handed.pin:
        raise WrongKeyIssued(
            f"The CA issued a certificate for another key (pin {issued}) than the one that pinkeep handed "
            f"over (pin {handed.pin}).",
            "certbot did not store it, and keeps the old certificate. Tell the CA, and renew again.",
        )


def _is_pinned(config: Any) -> bool:
    return bool(_acting) or config.installer == INSTALLER


def _avoid_reuse_key_conflicts(original: Callable[..., None], config: Any, lineage: Any) -> None:
    """Let a size, curve or type that is set for new keys not block the renewal of a pinned one."""
    if not _is_pinned(config):
        original(config, lineage)


def _update_from_key(original: Callable[..., None], key_path: str, config: Any) -> None:
    """Let a live key that cannot be read not block the renewal for the keyring's key: certbot reads it
    before it asks for the certificate, to take over its type and size."""
    if not _is_pinned(config):
        original(key_path, config)
        return
    from certbot_pinkeep.storage import atomic

    try:
        atomic.read(key_path)  # a pipe would hold certbot up
        original(key_path, config)
    except Exception as error:
        logger.debug("The type of the key %s is not known: %s", key_path, error)


def tell_instead(tell: Callable[[], None]) -> None:
    """Have *tell* called in place of the message of ``certbot run`` that HTTPS is enabled. pinkeep enables
    none."""
    shown = getattr(certbot_main, "display_ops", None)
    if hasattr(shown, "success_installation"):
        setattr(shown, "success_installation", lambda *_: tell())  # noqa: B010
