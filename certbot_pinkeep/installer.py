"""The certbot plugin: translates certbot's calls into the workflow's, and its errors into certbot's.

Certbot imports this module at every run, also if pinkeep is not used. So a function imports what only that
function needs. Loading this module also has ``certbot revoke`` watched.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from certbot import errors, interfaces, util
from certbot.display import util as display_util
from certbot.plugins import common

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.adapters.certbot_config import INSTALLER, has_keyrings, lineage_of, lowered
from certbot_pinkeep.core.errors import BadOption, PinkeepError, Unsupported

if TYPE_CHECKING:
    from certbot_pinkeep.workflow.answers import Answers
    from certbot_pinkeep.workflow.first_look import FirstLook
    from certbot_pinkeep.workflow.guard import Guard
    from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)

_WITH_SOMEBODY_THERE = ("certonly", "run", "install", "reconfigure")


class Installer(
    common.Plugin, interfaces.Installer, interfaces.GenericUpdater, interfaces.RenewDeployer
):
    """Keeps pinned keys through renewals and writes the header that lists them."""

    description = "Keep pinned keys through renewals; write the Public-Key-Pins header for Apache"

    def __init__(self, config: Any, name: str) -> None:
        super().__init__(config, name)
        self._guard: Guard | None = None

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """Add the options. The parser does not check their values: a bad one in cli.ini would stop certbot
        for everybody (G3)."""
        from certbot_pinkeep.core import options

        for name, metavar, does in options.TABLE:
            if metavar:
                more = {"action": "append"} if name in options.REPEATED else {}
                add(name, metavar=metavar, dest=options.destination(name), help=does, **more)
            else:
                _add_switch(add, name, does)
        for name in options.OPTIONS:
            add(f"0-1-{name}", dest=options.stored_name(name), help=argparse.SUPPRESS)

    def dest(self, var: str) -> str:
        """Return the name of an option in certbot's configuration. Certbot stores no option of this name."""
        from certbot_pinkeep.core import options

        return options.destination(var)

    @property
    def guard(self) -> Guard:
        """What pinkeep does with the lineage of this plugin's configuration."""
        from certbot_pinkeep.workflow.guard import Guard

        if self._guard is None:
            self._guard = Guard(self.config)
        return self._guard

    # What certbot asks of every plugin

    def prepare(self) -> None:
        """Make certbot keep the key and ask us for the CSR. Writes nothing.

        :raises errors.ConfigurationError: if an option has a bad value and somebody is there to
            mend it; a renewal goes on (G3). A PluginError would make certbot go on without us.
        """
        if self.config.installer != self.name:
            # Certbot prepares every installer before it asks which one; that must change nothing.
            raise errors.PluginError("Choose it with: --installer pinkeep")
        self.config.reuse_key = True
        if self.config.new_key:
            # A rollover to a staged backup, not a new key; certbot then names the lineage to us.
            setattr(self.config, "new_key", False)  # noqa: B010 - read-only to type checkers only
            self.guard.answers.rollover_asked = True
        if _unguarded:
            logger.error("%s", _unguarded)
        if self.config.verb in ("certonly", "run") and getattr(self.config, "key_path", None):
            raise errors.ConfigurationError(_no_key_path(self.config))
        if self.config.verb in _WITH_SOMEBODY_THERE:
            self._check_options()
        if self.config.verb == "reconfigure" and self.config.certname:
            with _certbots_errors():
                self.guard.reconfiguring(self.config.certname)

    def _check_options(self) -> None:
        try:
            self.guard.check_options()
        except BadOption as error:
            raise errors.ConfigurationError(str(error)) from error
        except PinkeepError as error:  # a renewal comes first (G3); publishing says it again
            logger.error("%s", error)

    def more_info(self) -> str:
        """Return what this plugin does, for certbot's plugin menu."""
        return (
            "Renews certificates for the saved CSR of their pinned key, and stages backup keys. Writes "
            "the Public-Key-Pins header with all pins as a snippet for Apache or nginx."
        )

    # What certbot asks of an installer

    def get_all_names(self) -> list[str]:
        """Return none: which sites there are is Apache's business."""
        return []

    def deploy_cert(
        self, domain: str, cert_path: str, key_path: str, chain_path: str, fullchain_path: str
    ) -> None:
        """Bring the lineage of this certificate up to date; once, not per domain."""
        name = os.path.basename(os.path.dirname(cert_path))
        if cert_path != os.path.join(os.path.abspath(self.config.live_dir), name, "cert.pem"):
            raise errors.PluginError(
                f"{cert_path} is not a certificate that certbot manages. Install a certificate by its "
                "name.\nRun: certbot install --cert-name NAME --installer pinkeep"
            )
        self._keep(name)
        if self.config.verb == "run":
            self._claim_no_https(name)

    def _claim_no_https(self, name: str) -> None:
        """Have certbot say what is left to do, not that HTTPS is enabled: that is another installer's
        work."""
        redirect = " --redirect" if getattr(self.config, "redirect", None) else ""
        told = (
            f"pinkeep keeps the pinned keys of {name}. pinkeep does not set up HTTPS. If no TLS site of your "
            "web server uses this certificate yet, certbot's Apache installer makes one with it.\n"
            f"Run: certbot install --cert-name {shlex.quote(name)} --installer apache{redirect}"
        )
        try:
            from certbot_pinkeep.adapters import certbot_client

            certbot_client.tell_instead(partial(display_util.notify, told))
        except (ImportError, AttributeError) as error:
            logger.debug("What certbot says of HTTPS stays: %s", error)

    def enhance(self, domain: str, enhancement: str, options: Any = None) -> None:
        """Refuse: there are no enhancements."""
        raise errors.PluginError(f"The pinkeep installer has no enhancement {enhancement!r}.")

    def supported_enhancements(self) -> list[str]:
        """Return none."""
        return []

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        """Do nothing: what is changed is saved at once."""

    def rollback_checkpoints(self, rollback: int = 1) -> None:
        """Do nothing: a snippet that fails its test is taken back at once."""

    def recovery_routine(self) -> None:
        """Do nothing: a run that was killed is completed by the next one."""

    def config_test(self) -> None:
        """Do nothing: the test is run when a snippet changes."""

    def restart(self) -> None:
        """Bring the certificate up to date that ``certonly`` just got. In the other verbs that is
        done by now, and Apache is reloaded."""
        with _certbots_errors():
            self.guard.keep_issued()

    # What certbot renew offers to installers

    def renew_deploy(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Bring a renewed lineage up to date."""
        self._keep(lineage_of(self.config, lineage))

    def generic_updates(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Bring a lineage up to date that may not be due; at once if it is up to date."""
        if not _is_up_to_date(self.config, lineage):
            with _certbots_errors():
                name = lineage_of(self.config, lineage)
                self.guard.look_once(name, lineage.cert_path, lineage.key_path)

    # Between the two

    def _keep(self, name: str) -> None:
        with _certbots_errors():
            self.guard.keep_once(name)


def _pinning_of(installer: Any) -> Answers | None:
    """Return whom certbot's client asks for a key, by its installer."""
    return installer.guard.answers if isinstance(installer, Installer) else None


class _Door:
    """Which lineages are pinned, if certbot asks; loads what that takes only if there are keyrings."""

    def asked(
        self, config: Any, installer: Any, lineage: str | None, names: Sequence[str]
    ) -> Answers | None:
        """Return what the client is told for a lineage; ``None``: it is not pinned."""
        if isinstance(installer, Installer) or not has_keyrings(config):
            return _pinning_of(installer)
        from certbot_pinkeep.workflow import guard

        found = (
            guard.request(config, names) if lineage is None else guard.of(config, lineage, names)
        )
        return found.answers if found is not None else None

    def updating(self, config: Any, lineage: Any) -> None:
        """Bring a lineage up to date, unless certbot has called the plugin for that."""
        if config.installer == INSTALLER or not has_keyrings(config):
            return
        if config.disable_renew_updates or not _is_up_to_date(config, lineage):
            from certbot_pinkeep.workflow import guard

            name = lineage_of(config, lineage)
            guard.update(config, name, lineage.cert_path, lineage.key_path)

    def ending(self, config: Any) -> None:
        """Bring up to date what the verb has issued or changed."""
        if config.installer != INSTALLER and has_keyrings(config):
            from certbot_pinkeep.workflow import guard

            guard.end(config)


def _is_up_to_date(config: Any, lineage: Any) -> bool:
    """Return whether nothing is to be done for a lineage, before anything more of pinkeep is loaded."""
    from certbot_pinkeep.core import options
    from certbot_pinkeep.workflow import first_look

    first = first_look.of(config.config_dir, config.work_dir)
    if first.begin():
        util.atexit_register(partial(_end, config, first))
    live = [lineage.cert_path, lineage.key_path]
    return first.is_enough(lineage_of(config, lineage), options.given(config), live)


def _end(config: Any, first: FirstLook) -> None:
    if first.end():
        from certbot_pinkeep.workflow.guard import Guard

        Guard(config).end()


def _watch() -> None:
    """Have ``certbot revoke`` and ``certbot delete`` watched, for which certbot makes no
    installer."""
    try:
        from certbot_pinkeep.adapters import certbot_watch

        certbot_watch.watch_revocations(_notice_revocation)
        certbot_watch.watch_deletions(_notice_deletion)
    except (ImportError, AttributeError, Unsupported) as error:
        logger.debug("certbot revoke and delete are not watched: %s", error)


def _guard() -> str:
    """Have certbot give pinned keys to pinned lineages, whatever their installer.

    :returns: why this certbot cannot; empty: it does
    """
    try:
        from certbot_pinkeep.adapters import certbot_client, certbot_guard

        certbot_client.wrap(_pinning_of)
        certbot_guard.guard(_Door())
    except (ImportError, AttributeError, Unsupported) as error:
        with suppress(ImportError, AttributeError):
            from certbot_pinkeep.adapters import certbot_watch

            certbot_watch.before_issuing(_without_guard)
        return (
            "pinkeep cannot hand over saved CSRs to this certbot. Renewals keep the live key all the same. "
            f"{error}"
        )
    return ""


def _notice_revocation(config: Any, pin: str, compromised: bool) -> None:
    from certbot_pinkeep.workflow import requests

    now = clock.now()
    for sentence in requests.note_revoked(_workspace(config), pin, now, compromised=compromised):
        display_util.notify(sentence)


def _notice_deletion(config: Any) -> None:
    from certbot_pinkeep.workflow import requests

    for sentence in requests.note_deleted(_workspace(config), clock.now()):
        display_util.notify(sentence)


def _workspace(config: Any) -> Workspace:
    from certbot_pinkeep.workflow.workspace import Workspace

    return Workspace(config.config_dir, config.work_dir)


def _add_switch(add: Callable[..., None], name: str, does: str) -> None:
    """Add a flag, and one to take it back: the keyring keeps the first."""
    from certbot_pinkeep.core import options

    dest = options.destination(name)
    add(name, action="store_true", default=None, dest=dest, help=f"{does} (default: off)")
    add(
        f"no-{name}",
        action="store_false",
        default=None,
        dest=dest,
        help=f"take back --pinkeep-{name} (default: as the keyring has it)",
    )


def _no_key_path(config: Any) -> str:
    """Return why ``--key-path`` is refused: certbot issues no certificate for it, but for a new key."""
    name = config.certname or next((str(one) for one in config.domains or ()), "NAME")
    return (
        f"--key-path {config.key_path!r}: certbot issues no certificate for this key, and pinkeep would pin "
        "another one. Get the certificate without --key-path and without --installer pinkeep. Then pin it.\n"
        f"Run: certbot-pinkeep pin {shlex.quote(name)} --key {shlex.quote(str(config.key_path))}"
    )


@contextmanager
def _certbots_errors() -> Iterator[None]:
    try:
        yield
    except PinkeepError as error:
        raise errors.PluginError(str(error)) from error


def _without_guard(config: Any) -> None:
    """Keep the keys of pinned lineages, and refuse new certificates for pinned hosts: this certbot cannot
    be guarded (G11). Other lineages stay as they are (G9).

    :raises errors.Error: if a new certificate would be for a pinned host
    """
    if not has_keyrings(config):
        return
    from certbot_pinkeep.workflow import guard

    logger.error("%s", _unguarded)
    if config.verb == "renew":
        guard.keep_keys(config)
    elif guard.of(config, config.certname, lowered(config.domains)):
        raise errors.Error(
            f"A pinned certificate or host is concerned, so nothing was issued. {_unguarded}\n"
            "Run: certbot renew"
        )


# Certbot loads this module at every run, before it reads its command line and takes its functions.
_watch()
_unguarded = _guard()
