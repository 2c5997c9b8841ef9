"""What certbot's client is told if it asks for the key of a certificate.

The rules:

* No rule about keys is here: ``issue`` chooses. This puts together what the choice needs from certbot's
  configuration, and remembers what the CA refused in this run.
* An error is told to certbot, which keeps the old certificate (G3).
* In ``certbot renew``, ``--new-key`` asks for a rollover that locks nobody out: it may stand in cli.ini, and
  nobody is there to take it back. If there is none, the renewal goes on without (G3).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from certbot.display import util as display_util

from certbot_pinkeep.adapters import certbot_config, clock
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import pins
from certbot_pinkeep.core.errors import BadKey, Compromised, KeyRefused, PinkeepError
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.workflow import issue, requests
from certbot_pinkeep.workflow.given import Given
from certbot_pinkeep.workflow.issue_request import IssueRequest
from certbot_pinkeep.workflow.run import Run, handover_new

logger = logging.getLogger(__name__)


class Answers:
    """What one command of certbot is told for its lineage.

    :param config: certbot's configuration
    :param given: the options that count
    :param run: what the lineages of this process share
    :param stage: has the missing backups of a lineage published
    :param issued: remembers the certificate that certbot is about to store
    :ivar rollover_asked: whether the admin asked for another key
    """

    def __init__(
        self,
        config: Any,
        given: Given,
        run: Run,
        *,
        stage: Callable[[str], None],
        issued: Callable[[bytes], None],
    ) -> None:
        self.config = config
        self.given = given
        self.run = run
        self.workspace = run.workspace
        self.issued = issued
        self.rollover_asked = False
        self._rolls_over = False
        self._stage = stage
        self._refused: set[str] = set()
        self._csr_rejected: set[str] = set()

    def handover(
        self, names: Sequence[str], live_key_path: str | None, *, dry_run: bool
    ) -> KeyAndCsr | None:
        """Choose the key and CSR for a certificate; ``None``: certbot makes them as ever.

        :param live_key_path: the live key's path if a lineage is renewed; its folder names it
        :raises PinkeepError: if there is no key that clients accept
        """
        if live_key_path is None:
            return self._handover_new(names, dry_run=dry_run)
        name = os.path.basename(os.path.dirname(live_key_path))
        self.workspace.was_pinned(name)  # certbot may note pinkeep in the renewal file next
        live = self._live(name)
        if live is None:
            if self.config.installer == certbot_config.INSTALLER or self.run.is_enrolled(name):
                return None  # it could not be pinned: certbot keeps its key (G3)
            return self._handover_new(names, name, dry_run=dry_run)  # of the keyring of its hosts
        request = self._request(
            name,
            names,
            live,
            dry_run=dry_run,
            chosen=self.given.options_if_sound(name),
            refused=frozenset(self._refused),
            csr_rejected=frozenset(self._csr_rejected),
        )
        try:
            handed = self._handover(request)
        except Compromised:
            if not dry_run:
                self._stage(name)
            raise
        self._rolls_over = handed.pin != live.pin
        return handed

    def _request(
        self, name: str, names: Sequence[str], live: Live | None = None, **more: Any
    ) -> IssueRequest:
        keyring = self.given.keyring(name, [*(live.names if live else ()), *names])
        asked = self.rollover_asked and live is not None
        return IssueRequest(name, keyring, tuple(names), clock.now(), live, asked=asked, **more)

    def _handover(self, request: IssueRequest) -> KeyAndCsr:
        try:
            return issue.handover(self.workspace, request)
        except Compromised:
            raise
        except PinkeepError as error:
            if not request.asked or self.config.verb != "renew":
                raise
            self.rollover_asked = False
            handed = issue.handover(self.workspace, replace(request, asked=False))
            logger.warning("--new-key does not count for %s. %s", request.lineage, error)
            return handed

    def _live(self, name: str) -> Live | None:
        """Look at the live certificate, or at its record if it cannot be read; ``None``: there is none."""
        try:
            return self.given.look(name)
        except BadKey as error:
            logger.error("%s", error)
            keyring, must_staple = self.given.keyring(name), bool(self.config.must_staple)
            return issue.on_record(self.workspace, name, keyring, must_staple=must_staple)

    def _handover_new(
        self, names: Sequence[str], lineage: str | None = None, *, dry_run: bool
    ) -> KeyAndCsr | None:
        name, config = lineage or new_lineage(self.config, names), self.config
        if lineage is None:
            self.workspace.note_pinned(name, pinned=False)
        rsa = str(config.key_type).lower() == "rsa"
        kind = KeyKind("rsa", str(config.rsa_key_size)) if rsa else None
        kind = kind or KeyKind("ecdsa", str(config.elliptic_curve))
        request = self._request(
            name,
            names,
            key_type=kind.key_type,
            kind=kind if certbot_config.is_given(config, "key_type") else None,
            must_staple=bool(config.must_staple),
            dry_run=dry_run,
        )
        handed = handover_new(self.workspace, self.run.publisher, request)
        if handed is not None and handed.waited:
            display_util.notify(
                f"{handed.csr.path} asks for exactly these names, and its key is in {handed.key_path}: the "
                f"certificate is issued for this key, with the pin {handed.pin}."
            )
        return handed

    def is_still_chosen(self, names: Sequence[str], live_key_path: str | None, pin: str) -> bool:
        """Return whether the key of this pin may still be used, by what is on record now.

        :raises PinkeepError: if that cannot be told
        """
        name = os.path.basename(os.path.dirname(live_key_path or ""))
        live = self.given.look(name) if live_key_path else None
        name = name or new_lineage(self.config, names)
        return issue.is_still_chosen(self.workspace, self._request(name, names, live), pin)

    def overrule(self, lineage: str, given: Mapping[str, str]) -> None:
        """Say which of these flags do not count, because the lineage is pinned.

        :param given: their values; empty: it has none
        """
        flags = [flag for flag, value in given.items() if not value]
        with suppress(BadKey):  # the keyring mends that
            kind, wanted = self.given.look(lineage).kind.key_type, given.get("--key-type", "")
            flags += [f"--key-type {wanted}"] if wanted not in ("", kind) else []
        if not flags:
            return
        told = f"{lineage} is pinned: its certificate gets pinned keys only. {' and '.join(flags)} "
        told += "do not count." if len(flags) > 1 else "does not count."
        if self.rollover_asked and self._rolls_over:
            told += " pinkeep rolled over to a staged backup instead."
        display_util.notify(told)

    def is_compromised(self, live_key_path: str) -> bool:
        """Return whether the live key is known to be compromised. Never an error."""
        name = os.path.basename(os.path.dirname(live_key_path))
        try:
            pem = atomic.read(live_key_path)
            pin = pins.pin_of(load_private_key(pem).public_key())
            return self.workspace.store.is_compromised(pin)
        except Exception as error:
            logger.debug("Whether the key of %s is compromised is unknown: %s", name, error)
            return False

    def refused(self, refusal: KeyRefused) -> None:
        """Never hand this key over again."""
        self._refused.add(refusal.pin)
        for sentence in requests.note_revoked(
            self.workspace, refusal.pin, clock.now(), compromised=True
        ):
            logger.warning("%s", sentence)

    def csr_rejected(self, pin: str) -> bool:
        """Do not hand this backup over again in this run; whether it is one."""
        self._csr_rejected.add(pin)
        return bool(requests.backup_of(self.workspace, pin))

    def report_rejected_backup(self, pin: str, why: str) -> None:
        """Tell of a backup that the CA does not take, though it takes others."""
        for name in requests.backup_of(self.workspace, pin):
            logger.error(
                "The CA does not take the backup of the keyring %s with the pin %s: %s. The certificate was "
                "issued without it. Take the backup out of the pins.\nRun: certbot-pinkeep backup %s drop %s",
                name,
                pin,
                why,
                name,
                pin,
            )


def new_lineage(config: Any, names: Sequence[str]) -> str:
    """Return the name that certbot will give to a new lineage."""
    wanted = str(config.certname or names[0].removeprefix("*."))
    path = os.path.join(config.renewal_configs_dir, "{}.conf")
    number, name = 0, wanted
    while os.path.exists(path.format(name)):
        number += 1
        name = f"{wanted}-{number:04d}"
    return name
