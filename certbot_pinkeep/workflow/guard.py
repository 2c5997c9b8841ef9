"""What pinkeep does with a lineage within one command of certbot, whatever installer it has.

The rules:

* Both doors lead here: the plugin, if certbot calls it as an installer, and the guard in ``certbot_guard``,
  if not. No decision is taken in either of them.
* Certbot makes a configuration for each lineage, so there is a guard for each; what they share is the
  :class:`Run`.
* A lineage is guarded if it draws on a keyring. A lineage is guarded as well, when it is issued, if a keyring
  pins any of its hosts: from then on it draws on that keyring.
* Another installer stays the lineage's installer: only ``reuse_key`` is noted for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from certbot import util
from cryptography import x509

from certbot_pinkeep.adapters import certbot_config, clock, renewal_conf
from certbot_pinkeep.carriers import snippets
from certbot_pinkeep.core import options, pins, text
from certbot_pinkeep.core.errors import (
    BadKey,
    BadOption,
    PinkeepError,
)
from certbot_pinkeep.core.pem import usable
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.workflow import answers, move, notices
from certbot_pinkeep.workflow import run as runs
from certbot_pinkeep.workflow.accepted import refusing
from certbot_pinkeep.workflow.answers import Answers
from certbot_pinkeep.workflow.given import Given
from certbot_pinkeep.workflow.run import Run
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)

INSTALLER = certbot_config.INSTALLER


#: The guards that another installer's lineages were issued through in this process.
_issued: list[Guard] = []


class Guard:
    """What one command of certbot does with its lineage.

    :param config: certbot's configuration
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self._certificate: bytes | None = None  # issued in this run, not yet brought up to date
        self._kept: set[str] = set()

    @property
    def run(self) -> Run:
        """What the lineages of this process share."""
        found = runs.of(self.config.config_dir, self.config.work_dir)
        found.cache.is_frozen = bool(self.config.dry_run)
        return found

    @cached_property
    def given(self) -> Given:
        """The options that count for a lineage."""
        return Given(self.config, self.workspace)

    @cached_property
    def answers(self) -> Answers:
        """What certbot's client is told for this command's lineage."""
        return Answers(self.config, self.given, self.run, stage=self._stage, issued=self.issued)

    @property
    def workspace(self) -> Workspace:
        """What is known of the config dir."""
        return self.run.workspace

    def check_options(self) -> None:
        """See that what is given can be used.

        :raises BadOption: if it cannot
        """
        lineage = self.config.certname or "any"
        chosen = options.parse(options.given(self.config), lineage)
        hosts = certbot_config.lowered(self.config.domains)
        snippets.server_of(self.workspace.store, chosen, hosts)

    # What is issued

    def _stage(self, name: str) -> None:
        """Have backups published that are lacking, though the lineage is not renewed: the sooner they
        are, the sooner the compromised key can be left."""
        util.atexit_register(self.finish_late)
        try:
            self._enrol(name, issued=False)
        except PinkeepError as error:
            logger.debug("%s", error)  # it is told when the lineage is renewed

    def issued(self, certificate: bytes) -> None:
        """Remember what ``certonly`` is about to store; certbot tells no lineage."""
        self._certificate = certificate
        if self.config.installer != INSTALLER:
            _issued.append(self)
            util.atexit_register(self.keep_late)

    # What happens to a lineage

    def look_once(self, name: str, cert_path: str, key_path: str) -> None:
        """Bring a lineage up to date that may not be due; at once if it is up to date."""
        if self.run.notice():
            util.atexit_register(self.end)
        if not self.run.cache.is_up_to_date(name, self.given.values(), [cert_path, key_path]):
            self.keep_once(name)
        if not self._more_to_come(name):
            self._finish()

    def keep_issued(self) -> None:
        """Bring the lineage up to date whose certificate was just issued, if any was."""
        for name in sorted(os.listdir(self.config.live_dir)) if self._certificate else ():
            if self.has_issued(self.workspace.live_file(name)):
                self.keep_once(str(name))
                return

    def keep_late(self) -> None:
        """Do the same when certbot ends, if it did not come so far: the other installer failed, say."""
        try:
            self.keep_issued()
        except PinkeepError as error:
            logger.error("%s", error)
        self.finish_late()  # while Python ends, it calls nothing that is registered only then

    def reconfiguring(self, name: str) -> None:
        """Have the lineage brought up to date when ``certbot reconfigure`` has saved its new options.

        :raises PinkeepError: if its renewal file cannot be read
        """
        self.given.renewal(name)
        self.workspace.was_pinned(name)
        before = renewal_conf.written(self.config.config_dir, name)
        util.atexit_register(partial(_reconfigured, self.config, before))

    def keep_once(self, name: str) -> None:
        """Bring a lineage up to date, once however often certbot tells of it; what its keyring
        publishes follows when the last lineage of this run has had its turn.

        :raises PinkeepError: with what is wrong and what to do; certbot takes it for a renewal that
            failed, so it begins with what was done
        """
        try:
            self._keep(name)
        except PinkeepError as error:
            done = self.run.loader.told(name)
            if not done:
                raise
            raise PinkeepError(f"{done} {error}") from error

    def _keep(self, name: str) -> None:
        later = self._more_to_come(name)
        # Brought up to date or not: it is tried once.
        issued, self._certificate = self._certificate is not None, None
        if name not in self._kept:
            if later:
                util.atexit_register(self.finish_late)
            try:
                self._enrol(name, issued=issued)
            except Exception:
                if not later:
                    self.finish_late()  # what else was recorded in this run, or by this attempt
                raise
            self._kept.add(name)
        if not later:
            self._finish()

    def _more_to_come(self, name: str) -> bool:
        """Return whether ``certbot renew`` comes to another lineage of ours after this one."""
        if self.config.verb != "renew" or self.config.certname:
            return False
        try:
            return name != self.run.last(self._is_everyones)
        except (ImportError, AttributeError) as error:
            logger.debug("Which lineage is the last one is unknown: %s", error)
            return False

    def _is_everyones(self) -> bool:
        """Return whether the admin chose pinkeep for every lineage."""
        return self.config.installer == INSTALLER and certbot_config.is_given(
            self.config, "installer"
        )

    def _enrol(self, name: str, *, issued: bool) -> None:
        keyring, values = name, options.given(self.config)
        with notices.plain_errors():
            with suppress(PinkeepError, OSError):  # what is wrong is told below
                keyring, values = self.given.keyring(name), self.given.values(name)
            self.run.loader.note(name, keyring, values, issued=issued)
            try:
                enrolled = self.run.enrol(
                    self.given.values(name),
                    self.given.look(name),
                    self.given.options(name),
                    partial(self._remember, name),
                )
            except BadOption as error:
                where = notices.how_to_mend(self.config, name, error, self.given.renewal(name))
                self.given.forget_unusable(name, error)
                raise PinkeepError(f"{error}{where}") from error
        notices.tell_enrolled(enrolled)

    def _remember(self, name: str) -> None:
        """Note in the renewal file what keeps the key, and the installer only if that is pinkeep."""
        if self.config.installer == INSTALLER:
            renewal_conf.remember(self.config.config_dir, name, INSTALLER)
        else:
            renewal_conf.keep_key(self.config.config_dir, name)
            renewal_conf.take_out(self.config.config_dir, name)

    def _finish(self) -> None:
        """Publish what was enrolled."""
        with notices.plain_errors():
            notices.tell_reports(self.run.finish())

    def finish_late(self) -> None:
        """Do the same when certbot ends, if the last lineage did not come so far."""
        try:
            if self.run.waiting:
                self._finish()
        except PinkeepError as error:
            logger.error("%s", error)

    def end(self) -> None:
        """Publish what another installer has changed in this run after the last lineage's turn."""
        if not self.run.notice():
            self.run.notice_again()
        self.finish_late()

    def has_issued(self, cert_path: str) -> bool:
        """Return whether this certificate was just issued, and is not yet brought up to date."""
        try:
            return atomic.read(cert_path) == self._certificate
        except OSError:
            return False


def _reconfigured(config: Any, before: object) -> None:
    """Bring a lineage up to date once ``certbot reconfigure`` has saved its new options.

    :param before: its renewal file as it was
    """
    guard, name = Guard(config), config.certname
    try:
        renewal = guard.given.renewal(name)
        # Certbot writes the file anew, also with the same content, unless the simulated renewal fails.
        saved = renewal_conf.written(config.config_dir, name) != before
        if saved and renewal is not None and renewal.installer == INSTALLER:
            guard.keep_once(name)
    except PinkeepError as error:
        logger.error("%s", error)


def of(config: Any, lineage: str | None, names: Sequence[str]) -> Guard | None:
    """Return the guard of a lineage that gets pinned keys only; ``None``: it is not pinned (G9).

    :param lineage: its name; ``None``: it is a new one
    :param names: of the new certificate; empty: those of the live one
    """
    guard = Guard(config)
    if lineage is not None:
        if guard.run.is_enrolled(lineage):
            return guard
        names = [*names, *guard.given.live_names(lineage)]
    return guard if move.keyring_at(guard.workspace, names, clock.now()) is not None else None


def request(config: Any, names: Sequence[str]) -> Guard | None:
    """Return the guard of a new lineage; ``None``: its hosts are not pinned. Then the lineage of its name
    that was enrolled, and was deleted, leaves its keyring."""
    guard = of(config, None, names)
    if guard is None and not config.dry_run:
        unpinned = Guard(config)
        move.forget_deleted(unpinned.workspace, answers.new_lineage(config, [*names]), "")
    return guard


def update(config: Any, lineage: str, cert_path: str, key_path: str) -> None:
    """Bring a lineage up to date that ``certbot renew`` has had, due or not, with another installer."""
    issued = next((one for one in _issued if one.has_issued(cert_path)), None)
    if issued is None and (
        config.disable_renew_updates or not Guard(config).run.is_enrolled(lineage)
    ):
        return
    (issued or Guard(config)).look_once(lineage, cert_path, key_path)


def end(config: Any) -> None:
    """Bring up to date what a verb has issued or changed with another installer."""
    if config.csr:
        _warn_of_csr(config)
        return
    for one in _issued:
        one.keep_issued()
    name = config.certname
    if not _issued and name and Guard(config).run.is_enrolled(name):
        paths = (Guard(config).workspace.live_file(name, part) for part in ("cert", "privkey"))
        Guard(config).look_once(name, *paths)


def keep_keys(config: Any) -> None:
    """Have ``certbot renew`` keep the keys of pinned lineages, though no guard asks about each of them.

    Their renewal files say that. What the admin gave counts for all lineages of a run, so there it is
    overruled for all. A dry run writes nothing, so it keeps all keys.
    """
    run = Guard(config).run
    try:
        pinned = [name for name in renewal_conf.names(config.config_dir) if run.is_enrolled(name)]
    except Exception as error:  # a renewal comes first (G3), and keys are kept (G8)
        told = "pinkeep cannot tell which certificates are pinned, so certbot keeps all keys: %s"
        logger.error(told, text.short(error, text.LONGEST))
        pinned, everyone = [], True
    else:
        everyone = bool(pinned) and (config.dry_run or certbot_config.is_given(config, "reuse_key"))
    for name in () if config.dry_run else pinned:
        with suppress(PinkeepError, OSError):  # certbot tells, and passes over the lineage
            renewal_conf.keep_key(config.config_dir, name)
    if pinned or everyone:
        setattr(config, "new_key", False)  # noqa: B010 - read-only to type checkers only
    if everyone:
        config.reuse_key = True


def _warn_of_csr(config: Any) -> None:
    """Say if clients refuse the key of the admin's own CSR, which certbot makes no lineage of."""
    workspace, now = Guard(config).workspace, clock.now()
    names = certbot_config.lowered(config.domains)
    csr = config.actual_csr
    csr = csr if hasattr(csr, "data") else csr[0]  # certbot 2 has its type beside it
    try:
        pin = pins.pin_of(usable(x509.load_pem_x509_csr(csr.data).public_key()))
    except (BadKey, ValueError) as error:
        logger.debug("The key of the CSR cannot be pinned: %s", error)
        return
    for keyring in workspace.store.near(names):
        known = workspace.at_best(keyring, now)
        refused = next(filter(None, (refusing(one, names, pin, now) for one in known)), ())
        if refused:
            logger.warning(
                "Clients that hold pins of the keyring %s refuse the key of this CSR at %s. Do not serve "
                "this certificate there.",
                keyring,
                ", ".join(refused),
            )
