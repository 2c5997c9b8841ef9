"""The certbot plugin: translates certbot's calls into the keeper's, and its errors into certbot's.

Certbot imports this module at every run, also where pinkeep is not used: what is needed only when
it is, is imported where it is used. Loading it also has ``certbot revoke`` watched.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from certbot import errors, interfaces, util
from certbot.display import util as display_util
from certbot.plugins import common

from certbot_pinkeep.adapters import clock

if TYPE_CHECKING:
    from certbot_pinkeep.adapters.lineage import Live
    from certbot_pinkeep.adapters.renewal_conf import Renewal
    from certbot_pinkeep.core.errors import BadOption, KeyRefused
    from certbot_pinkeep.core.key_and_csr import KeyAndCsr
    from certbot_pinkeep.core.options import Options
    from certbot_pinkeep.storage.uptodate import UpToDate
    from certbot_pinkeep.workflow.enrol import Keeper
    from certbot_pinkeep.workflow.publish import Report, Taken
    from certbot_pinkeep.workflow.run import Run

logger = logging.getLogger(__name__)


_WITH_SOMEBODY_THERE = ("certonly", "run", "install", "reconfigure")


class Installer(
    common.Plugin, interfaces.Installer, interfaces.GenericUpdater, interfaces.RenewDeployer
):
    """Keeps pinned keys through renewals and writes the header that lists them."""

    description = "Keep pinned keys through renewals; write the Public-Key-Pins header for Apache"

    def __init__(self, config: Any, name: str) -> None:
        super().__init__(config, name)
        self._rollover_asked = False
        self._certificate: bytes | None = None  # issued in this run, not yet brought into step
        self._kept: set[str] = set()
        self._refused: set[str] = set()
        self._not_taken: set[str] = set()
        self._renewals: dict[str, Renewal | None] = {}
        self._pinned_before: bool | None = None

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """Add the options; their values are checked when they are used, not by the parser, so that
        a bad one in cli.ini does not stop certbot for everybody (G3)."""
        add(
            "keyring",
            metavar="NAME",
            help="the keyring that this certificate draws its key from "
            "(default: the certificate's name)",
        )
        add("backup-keys", metavar="N", help="backups to keep staged per key type (default: 2)")
        add(
            "max-age",
            metavar="SECONDS",
            help="how long clients hold the pins (default: 5184000, 60 days)",
        )
        _add_switch(add, "include-subdomains", "add includeSubDomains to the header")
        add("report-uri", metavar="URI", help="add report-uri to the header (default: none)")
        _add_switch(add, "report-only", "publish Public-Key-Pins-Report-Only instead")
        add(
            "rollover-days",
            metavar="DAYS",
            help="a key in service for longer is exchanged at its next renewal, as soon as that "
            "locks nobody out; 0: at every renewal; never (default: 730)",
        )
        add(
            "header",
            metavar="SERVER",
            help="the server that sends the header: apache, nginx, or none, where pins are for apps or "
            "zones only (default: what is installed; both or neither: apache)",
        )
        add(
            "snippet-dir",
            metavar="DIR",
            help="where KEYRING.conf is written (default: CONFIG_DIR/pinkeep/apache or .../nginx)",
        )
        add(
            "configtest-command",
            metavar="CMD",
            help="run before a changed snippet goes live (default: apache2ctl configtest, else "
            "apachectl configtest, else none; for nginx: nginx -t)",
        )
        add(
            "reload-command",
            metavar="CMD",
            help="makes the server load the snippet and certificates; '' if you reload it yourself "
            "(default: only if the server runs, systemctl reload, else apache2ctl graceful or apachectl "
            "graceful; for nginx: nginx -s reload)",
        )

    # What certbot asks of every plugin

    def prepare(self) -> None:
        """Make certbot keep the key and ask us for the CSR. Writes nothing.

        :raises errors.ConfigurationError: when an option has a bad value and somebody is there to
            mend it; a renewal goes on (G3). A PluginError would make certbot go on without us.
        """
        if self.config.installer != self.name:
            # Certbot prepares every installer before it asks which one; that must change nothing.
            raise errors.PluginError("Choose it with: --installer pinkeep")
        self.config.reuse_key = True
        if self.config.new_key:
            # A rollover to a staged backup, not a new key; certbot then names the lineage to us.
            setattr(self.config, "new_key", False)  # noqa: B010 - read-only to type checkers only
            self._rollover_asked = True
        self._wrap_client()
        if self.config.verb in ("certonly", "run") and getattr(self.config, "key_path", None):
            raise errors.ConfigurationError(_no_key_path(self.config))
        if self.config.verb in _WITH_SOMEBODY_THERE:
            self._check_options()
        if self.config.verb == "reconfigure" and self.config.certname:
            with _certbots_errors():
                self._renewal(self.config.certname)
            util.atexit_register(self._after_reconfigure)

    def _check_options(self) -> None:
        from certbot_pinkeep.core import options
        from certbot_pinkeep.core.errors import BadOption

        values = {name: self.conf(name) for name in options.OPTIONS}
        lineage = self.config.certname or "any"
        try:
            chosen = options.parse(values, lineage)
            hosts = tuple(str(name).lower() for name in self.config.domains or ())
            options.check_report_host(chosen.report_uri, hosts, chosen.include_subdomains)
            self._keeper().check(chosen)
        except BadOption as error:
            raise errors.ConfigurationError(str(error)) from error

    def more_info(self) -> str:
        """What this plugin does, for certbot's plugin menu."""
        return (
            "Renews certificates for the saved CSR of their pinned key, stages backup keys, and "
            "writes the Public-Key-Pins header with all pins as a snippet for Apache."
        )

    # What certbot asks of an installer

    def get_all_names(self) -> list[str]:
        """None: which sites there are is Apache's business."""
        return []

    def deploy_cert(
        self, domain: str, cert_path: str, key_path: str, chain_path: str, fullchain_path: str
    ) -> None:
        """Bring the lineage of this certificate into step; once, not per domain."""
        name = os.path.basename(os.path.dirname(cert_path))
        if cert_path != os.path.join(os.path.abspath(self.config.live_dir), name, "cert.pem"):
            raise errors.PluginError(
                f"{cert_path} is not a certificate that certbot manages. Install it by its name: "
                "certbot install --cert-name NAME --installer pinkeep"
            )
        self._keep_once(name)
        if self.config.verb == "run":
            self._claim_no_https(name)

    def _claim_no_https(self, name: str) -> None:
        """Have certbot say what is left to do, not that HTTPS is enabled: that is another installer's
        work."""
        redirect = " --redirect" if getattr(self.config, "redirect", None) else ""
        told = (
            f"pinkeep keeps the pinned keys of {name}. It does not set up HTTPS. If no TLS site of your "
            "web server uses this certificate yet, certbot's Apache installer makes one with it. "
            f"Run: certbot install --cert-name {name} --installer apache{redirect}"
        )
        try:
            from certbot_pinkeep.adapters import certbot_client

            certbot_client.tell_instead(partial(display_util.notify, told))
        except (ImportError, AttributeError) as error:
            logger.debug("What certbot says of HTTPS stays: %s", error)

    def enhance(self, domain: str, enhancement: str, options: Any = None) -> None:
        """There are no enhancements."""
        raise errors.PluginError(f"The pinkeep installer has no enhancement {enhancement!r}.")

    def supported_enhancements(self) -> list[str]:
        """None."""
        return []

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        """Nothing: what is changed is saved at once."""

    def rollback_checkpoints(self, rollback: int = 1) -> None:
        """Nothing: a snippet that fails its test is taken back at once."""

    def recovery_routine(self) -> None:
        """Nothing: a run that was killed is completed by the next one."""

    def config_test(self) -> None:
        """Nothing: the test is run when a snippet changes."""

    def restart(self) -> None:
        """Bring the certificate into step that ``certonly`` just got. In the other verbs that is
        done by now, and Apache is reloaded."""
        name = self._lineage_of(self._certificate) if self._certificate else None
        if name is not None:
            self._keep_once(name)

    # What certbot renew offers to installers

    def renew_deploy(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Bring a renewed lineage into step."""
        self._keep_once(lineage.lineagename)

    def generic_updates(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Bring a lineage into step that may not be due; at once where it is already."""
        from certbot_pinkeep.storage import shadow

        name = lineage.lineagename
        self._round().notice()
        shadow.Shadow(self.config.work_dir, self.config.config_dir).tick(clock.now())
        watched = [lineage.cert_path, lineage.key_path]
        if not self._stamps().in_step(name, self._values(), watched):
            self._keep_once(name)
        if not self._more_to_come(name):
            self._finish()

    # What the handoff asks

    def handover(
        self, names: list[str], live_key_path: str | None, dry_run: bool
    ) -> KeyAndCsr | None:
        """The key and CSR for a certificate; ``None``: certbot makes them as ever.

        :param live_key_path: the live key's path where a lineage is renewed; its folder names it
        :raises PinkeepError: when there is no key that clients accept
        """
        from certbot_pinkeep.core.errors import BadKey, Compromised

        if live_key_path is None:
            self._pinned_before = False
            return self._handover_new(names, dry_run)
        name = os.path.basename(os.path.dirname(live_key_path))
        pinned_before = self._was_pinned(name)  # before certbot notes us in the renewal file
        try:
            live = self._look(name)
        except BadKey as error:
            logger.error("%s", error)
            folder = os.path.dirname(live_key_path)
            known = self._keeper().on_record(
                name,
                self._keyring(name),
                os.path.join(folder, "cert.pem"),
                live_key_path,
                bool(self.config.must_staple),
            )
            if known is None:
                # It could not be pinned, and is not: certbot keeps its key (G3).
                return None
            live = known
        try:
            return self._keeper().handover(
                live,
                self._keyring(name, [*live.names, *names]),
                names,
                clock.now(),
                dry_run,
                self._rollover_asked,
                self._options_if_sound(name),
                pinned_before,
                frozenset(self._refused),
                frozenset(self._not_taken),
            )
        except Compromised:
            if not dry_run:
                self._stage(name)
            raise

    def _stage(self, name: str) -> None:
        """Have backups published that are lacking, though the lineage is not renewed: the sooner they
        are, the sooner the compromised key can be left."""
        util.atexit_register(self._finish_late)
        try:
            self._take_in(name)
        except errors.PluginError as error:
            logger.debug("%s", error)  # it is told when the lineage is renewed

    def _handover_new(self, names: list[str], dry_run: bool) -> KeyAndCsr | None:
        from certbot_pinkeep.adapters import certbot_client
        from certbot_pinkeep.core.kinds import KeyKind

        name, config = self._new_lineage(names), self.config
        rsa = str(config.key_type).lower() == "rsa"
        kind = KeyKind("rsa", str(config.rsa_key_size)) if rsa else None
        kind = kind or KeyKind("ecdsa", str(config.elliptic_curve))
        handed = self._keeper().handover_new(
            name,
            self._keyring(name, names),
            kind.key_type,
            names,
            bool(config.must_staple),
            clock.now(),
            dry_run,
            kind if certbot_client.is_given(config, "key_type") else None,
        )
        if handed is not None and handed.waited:
            display_util.notify(
                f"{handed.csr.path} asks for exactly these names, and its key is in {handed.key_path}: the "
                f"certificate is issued for this key, with the pin {handed.pin}."
            )
        return handed

    def is_still_chosen(self, names: list[str], live_key_path: str | None, pin: str) -> bool:
        """Whether the key of this pin may still be used, by what is on record now.

        :raises PinkeepError: when that cannot be told
        """

        name = os.path.basename(os.path.dirname(live_key_path or ""))
        live = self._look(name) if live_key_path else None
        hosts = [*(live.names if live else ()), *names]
        keyring = self._keyring(name or self._new_lineage(names), hosts)
        now, asked = clock.now(), self._rollover_asked
        return self._keeper().is_still_chosen(live, keyring, names, pin, now, asked)

    def issued(self, certificate: bytes) -> None:
        """Remember what ``certonly`` is about to store; certbot tells no lineage."""
        self._certificate = certificate

    def is_compromised(self, live_key_path: str) -> bool:
        """Whether the live key is known to be compromised. Never an error."""
        from certbot_pinkeep.core import pins
        from certbot_pinkeep.core.pem import load_private_key
        from certbot_pinkeep.storage import atomic

        name = os.path.basename(os.path.dirname(live_key_path))
        try:
            pem = atomic.read(live_key_path, atomic.SMALL)
            pin = pins.pin_of(load_private_key(pem).public_key())
            return self._keeper().is_compromised(pin)
        except Exception as error:
            logger.debug("Whether the key of %s is compromised is unknown: %s", name, error)
            return False

    def refused(self, refusal: KeyRefused) -> None:
        """Never hand this key over again."""
        from certbot_pinkeep.workflow import requests

        self._refused.add(refusal.pin)
        for sentence in requests.note_revoked(self._keeper(), refusal.pin, True, clock.now()):
            logger.warning("%s", sentence)

    def csr_rejected(self, pin: str) -> bool:
        """Do not hand this backup over again in this run; whether it is one."""
        from certbot_pinkeep.workflow import requests

        self._not_taken.add(pin)
        return bool(requests.backup_of(self._keeper().store, pin))

    def report_rejected_backup(self, pin: str, why: str) -> None:
        """Tell of a backup that the CA does not take, though it takes others."""
        from certbot_pinkeep.workflow import requests

        for name in requests.backup_of(self._keeper().store, pin):
            logger.error(
                "The CA does not take the backup of the keyring %s with the pin %s: %s. The certificate was "
                "issued without it. Take it out of the pins: certbot-pinkeep backup %s drop %s",
                name,
                pin,
                why,
                name,
                pin,
            )

    # Between the two

    def _wrap_client(self) -> None:
        from certbot_pinkeep.core.errors import Unsupported

        try:
            from certbot_pinkeep.adapters import certbot_client

            certbot_client.wrap(type(self))
        except (ImportError, AttributeError, Unsupported) as error:
            logger.error(
                "pinkeep cannot hand over saved CSRs here; the live key is kept all the same. %s",
                error,
            )

    def _keep_once(self, name: str) -> None:
        """Bring a lineage into step, once however often certbot tells of it; what its keyring
        publishes follows when the last lineage of this run has had its turn.

        :raises errors.PluginError: with what is wrong and what to do; certbot takes it for a renewal that
            failed, so it begins with what was done
        """
        try:
            self._keep(name)
        except errors.PluginError as error:
            done = self._round().renewed(name)
            if not done:
                raise
            raise errors.PluginError(f"{done} {error}") from error

    def _keep(self, name: str) -> None:
        later = self._more_to_come(name)
        if name not in self._kept:
            if later:
                util.atexit_register(self._finish_late)
            try:
                self._take_in(name)
            except Exception:
                if not later:
                    self._finish_late()  # what else was recorded in this run, or by this attempt
                raise
            self._kept.add(name)
        self._certificate = None
        if not later:
            self._finish()

    def _more_to_come(self, name: str) -> bool:
        """Whether ``certbot renew`` comes to another lineage of ours after this one."""
        if self.config.verb != "renew" or self.config.certname:
            return False
        from certbot_pinkeep.workflow import run

        try:
            from certbot_pinkeep.adapters import certbot_client

            everyone = certbot_client.is_given(self.config, "installer")
        except (ImportError, AttributeError) as error:
            logger.debug("Which lineage is the last one is unknown: %s", error)
            return False
        return name != run.last(self.config.config_dir, everyone)

    def _take_in(self, name: str) -> None:
        from certbot_pinkeep.adapters import renewal_conf
        from certbot_pinkeep.core.errors import BadOption, PinkeepError

        issued = self._certificate is not None
        with _certbots_errors():
            self._note(name, issued)
            values = self._values(name)
            try:
                live = self._look(name)
                chosen = self._options(name)
                taken = self._round().enrol(
                    live,
                    values,
                    chosen,
                    partial(renewal_conf.remember, self.config.config_dir, name, self.name, values),
                    self._was_pinned(name),
                    issued,
                )
            except BadOption as error:
                told = _how_to_mend(self.config, name, error, self._renewal(name))
                self._forget_unusable(name, error)
                raise PinkeepError(f"{error}{told}") from error
        _tell_taken(taken)

    def _forget_unusable(self, name: str, error: BadOption) -> None:
        """Have certbot not remember what cannot be used."""
        from certbot_pinkeep.adapters import renewal_conf
        from certbot_pinkeep.core.errors import PinkeepError

        option = error.option.removeprefix("--pinkeep-")
        try:
            renewal_conf.forget_unusable(self.config.config_dir, name, option)
        except (PinkeepError, OSError) as why:
            logger.error("%s", why)

    def _note(self, name: str, issued: bool) -> None:
        """Have the certificate loaded in the end, whatever goes wrong from here on (G12)."""
        from certbot_pinkeep.core.errors import PinkeepError
        from certbot_pinkeep.core.options import OPTIONS

        cert_path = os.path.join(self.config.live_dir, name, "cert.pem")
        keyring, values = name, {option: self.conf(option) for option in OPTIONS}
        try:
            keyring, values = self._keyring(name), self._values(name)
        except (PinkeepError, OSError) as error:
            logger.debug("%s", error)  # taking it in tells
        self._round().note(name, cert_path, keyring, values, issued)

    def _finish(self) -> None:
        """Publish what was taken in.

        :raises errors.PluginError: with what is wrong and what to do
        """
        with _certbots_errors():
            reports = self._round().finish()
            for report in reports:
                _tell(report)
            for sentence in _of_stopped(reports):
                display_util.notify(sentence)

    def _finish_late(self) -> None:
        """The same when certbot ends, where the last lineage did not come so far."""
        try:
            if self._round().waiting:
                self._finish()
        except errors.PluginError as error:
            logger.error("%s", error)

    def _was_pinned(self, name: str) -> bool:
        """Whether the lineage was pinned before this run."""
        if self._pinned_before is None:
            renewal = self._renewal(name)
            ours = renewal is not None and renewal.installer == self.name
            options = renewal.options if renewal is not None else {}
            self._pinned_before = ours and self._keeper().store.may_have_had(name, options)
        return self._pinned_before

    def _look(self, name: str) -> Live:
        from certbot_pinkeep.adapters import lineage

        folder = os.path.join(self.config.live_dir, name)
        return lineage.look(
            name,
            os.path.join(folder, "cert.pem"),
            os.path.join(folder, "privkey.pem"),
            bool(self.config.must_staple),
        )

    def _lineage_of(self, certificate: bytes) -> str | None:
        """The lineage that has this certificate live."""
        from certbot_pinkeep.storage import atomic

        for name in sorted(os.listdir(self.config.live_dir)):
            path = os.path.join(self.config.live_dir, name, "cert.pem")
            try:
                if atomic.read(path, atomic.MEDIUM) == certificate:
                    return name
            except OSError:
                continue
        return None

    def _new_lineage(self, names: list[str]) -> str:
        """The name that certbot will give to a new lineage."""
        wanted: str = self.config.certname or names[0].removeprefix("*.")
        path = os.path.join(self.config.renewal_configs_dir, "{}.conf")
        number, name = 0, wanted
        while os.path.exists(path.format(name)):
            number += 1
            name = f"{wanted}-{number:04d}"
        return name

    def _keyring(self, lineage: str, names: Sequence[str] | None = None) -> str:
        """The name of the lineage's keyring; where the option's value is bad, its own name.

        :param names: of its certificate; ``None``: of the one that is live
        """
        from certbot_pinkeep.core import options
        from certbot_pinkeep.core.errors import BadOption

        try:
            return options.keyring_name(self._values(lineage, names)["keyring"], lineage)
        except BadOption as error:
            # Where something is written, taking the lineage in tells.
            logger.log(logging.ERROR if self.config.dry_run else logging.DEBUG, "%s", error)
            return lineage

    def _options(self, lineage: str) -> Options:
        from certbot_pinkeep.core import options

        return options.parse(self._values(lineage), lineage)

    def _options_if_sound(self, lineage: str) -> Options | None:
        """The options; ``None`` where one is bad, which is told once the renewal is done (G3)."""
        from certbot_pinkeep.core.errors import BadOption

        try:
            return self._options(lineage)
        except BadOption:
            return None

    def _values(
        self, lineage: str | None = None, names: Sequence[str] | None = None
    ) -> dict[str, object]:
        """The options as they were given.

        :param lineage: adds what certbot remembers for it, and what counts for its keyring
        :param names: of its certificate; ``None``: of the one that is live
        """
        from certbot_pinkeep.core.options import OPTIONS

        given = {name: self.conf(name) for name in OPTIONS}
        if lineage is None:
            return given
        renewal = self._renewal(lineage)
        remembered = renewal.options if renewal is not None else {}
        if names is None:
            names = self._live_names(lineage)
        return self._keeper().values(lineage, given, remembered, names, clock.now())

    def _live_names(self, lineage: str) -> tuple[str, ...]:
        from certbot_pinkeep.adapters import lineage as lineages
        from certbot_pinkeep.core.errors import BadKey

        try:
            return lineages.glance(os.path.join(self.config.live_dir, lineage, "cert.pem"))[0]
        except BadKey as error:
            logger.debug("%s", error)
            return ()

    def _renewal(self, name: str) -> Renewal | None:
        """The lineage's renewal file as it was before this run; certbot may write it anew."""
        from certbot_pinkeep.adapters import renewal_conf

        if name not in self._renewals:
            self._renewals[name] = renewal_conf.load(self.config.config_dir, name)
        return self._renewals[name]

    def _round(self) -> Run:
        from certbot_pinkeep.workflow import run

        return run.of(self.config.config_dir, self.config.work_dir)

    def _keeper(self) -> Keeper:
        return self._round().keeper

    def _stamps(self) -> UpToDate:
        from certbot_pinkeep.storage import uptodate

        return uptodate.UpToDate(self.config.work_dir)

    def _after_reconfigure(self) -> None:
        """Bring the lineage into step once ``certbot reconfigure`` has saved its new options."""
        from certbot_pinkeep.adapters import renewal_conf
        from certbot_pinkeep.core.errors import PinkeepError

        name = self.config.certname
        try:
            renewal = renewal_conf.load(self.config.config_dir, name)
            before = self._renewals.pop(name, None)
            saved = renewal != before  # else the simulated renewal failed, or changed nothing
            if saved and renewal is not None and renewal.installer == self.name:
                self._take_in(name)
                self._finish()
        except (errors.PluginError, PinkeepError) as error:
            logger.error("%s", error)


def _watch() -> None:
    """Have ``certbot revoke`` and ``certbot delete`` noticed, for which certbot makes no
    installer."""
    from certbot_pinkeep.core.errors import Unsupported

    try:
        from certbot_pinkeep.adapters import certbot_client

        certbot_client.watch_revocations(_notice_revocation)
        certbot_client.watch_deletions(_notice_deletion)
    except (ImportError, AttributeError, Unsupported) as error:
        logger.debug("certbot revoke and delete are not noticed: %s", error)


def _notice_revocation(config: Any, pin: str, compromised: bool) -> None:
    from certbot_pinkeep.workflow import requests
    from certbot_pinkeep.workflow.enrol import Keeper

    keeper = Keeper(config.config_dir, config.work_dir)
    keeper.installer = config.installer
    for sentence in requests.note_revoked(keeper, pin, compromised, clock.now()):
        display_util.notify(sentence)


def _notice_deletion(config: Any) -> None:
    from certbot_pinkeep.workflow import requests
    from certbot_pinkeep.workflow.enrol import Keeper

    keeper = Keeper(config.config_dir, config.work_dir)
    for sentence in requests.note_deleted(keeper, clock.now()):
        display_util.notify(sentence)


def _add_switch(add: Callable[..., None], name: str, does: str) -> None:
    """A flag, and one to take it back: certbot remembers the first."""
    dest = f"pinkeep_{name.replace('-', '_')}"
    add(name, action="store_true", default=None, dest=dest, help=f"{does} (default: off)")
    add(
        f"no-{name}",
        action="store_false",
        default=None,
        dest=dest,
        help=f"take back --pinkeep-{name} (default: as certbot remembers)",
    )


def _how_to_mend(config: Any, name: str, error: BadOption, renewal: Renewal | None) -> str:
    """Where an option comes from that cannot be used, and what to do."""
    from certbot_pinkeep.adapters import certbot_client
    from certbot_pinkeep.core import explain
    from certbot_pinkeep.core.errors import NoKeyringName

    option = error.option.removeprefix("--")
    given = certbot_client.source(config, option.replace("-", "_"))
    told, mend = "", explain.given_anew(name, error)
    if given == certbot_client.COMMAND_LINE:
        told = " It was given on the command line."
    elif given == certbot_client.CLI_INI:
        told, mend = f" It stands in cli.ini, as {option!r}. Mend it there.", "certbot renew"
    elif given:
        told = f" It was given on the command line, or stands in cli.ini as {option!r}."
    elif renewal is not None and option.removeprefix("pinkeep-") in renewal.options:
        path = os.path.join(config.renewal_configs_dir, f"{name}.conf")
        told = f" It was given at an earlier run, and certbot remembered it. It is removed from {path}."
    elif not isinstance(error, NoKeyringName):
        told = " It was given at an earlier run, and counts for the keyring since."
    return f"{told}\nRun: {mend}"


def _no_key_path(config: Any) -> str:
    """Why ``--key-path`` is refused: certbot issues no certificate for it, but for a new key."""
    name = config.certname or next((str(one) for one in config.domains or ()), "NAME")
    return (
        f"--key-path {config.key_path!r}: certbot issues no certificate for this key, and pinkeep would pin "
        "another one. Nothing was changed. Get the certificate without --key-path and without --installer "
        f"pinkeep. Then run: certbot-pinkeep pin {name} --key {shlex.quote(str(config.key_path))}"
    )


def _tell_taken(taken: Taken) -> None:
    for sentence in taken.told:
        display_util.notify(sentence)
    name, keyring = taken.live.name, taken.chosen.keyring
    if taken.moved_from:
        display_util.notify(
            f"{name} draws on the keyring {keyring} from now on. When that is so for every "
            "certificate of its <VirtualHost>, include there the "
            f"snippet of {keyring} in place of that of {taken.moved_from}, reload Apache, and then "
            f"run: certbot-pinkeep confirm {keyring} -- until then, and until nobody holds pins of "
            f"{taken.moved_from} any more, it keeps its present key."
        )
    elif taken.joined and not taken.adopted:
        display_util.notify(f"{name} joined the keyring {keyring}.")


def _tell(report: Report) -> None:
    from certbot_pinkeep.carriers import servers

    for name in report.dropped:
        display_util.notify(f"{name} was deleted, and has left the keyring {report.keyring}.")
    for name in report.neighbours:
        display_util.notify(
            f"{name} is a certificate for a host of the keyring {report.keyring} as well, and pinkeep does "
            "not renew it. Its key is pinned, too. Its next renewal may bring a key that clients refuse. "
            f"To renew {name} with pinned keys, run: certbot renew --cert-name {name} --installer pinkeep"
        )
    if report.rolled_over:
        display_util.notify(
            f"Rolled the keyring {report.keyring} over to the key with the pin {report.rolled_over}."
        )
    if report.adopted or report.published:
        where = f"in {report.snippet}" if report.snippet else "no server sends a header"
        display_util.notify(f"{_published(report)}{' ' if report.snippet else ', '}{where}")
    title, kind = report.server.title, servers.KINDS.get(report.server.kind)
    if report.published and report.pending and not report.server.reload and kind:
        display_util.notify(
            f"{title} was not reloaded, because there is no --pinkeep-reload-command. {kind.include}, "
            f"reload {title}, and then run: certbot-pinkeep confirm {report.keyring}"
        )


def _of_stopped(reports: list[Report]) -> Iterator[str]:
    """What there is to say of servers that do not run, once each."""
    from certbot_pinkeep.carriers import servers

    told: dict[str, list[Report]] = {}
    for report in reports:
        if report.stopped and (report.published or report.issued):
            told.setdefault(report.server.title, []).append(report)
    for title, those in told.items():
        yield (
            f"{title} does not run, so pinkeep did not reload it. {title} loads the pins and the "
            "certificates when it starts; the next 'certbot renew' after that notes it."
        )
        for beside in servers.running_beside(those[0].server.kind):
            for taken in (one for report in those for one in report.taken):
                yield (
                    f"{beside.title} runs on this machine. If {beside.title} serves {taken.live.name}, "
                    "pinkeep has to publish for it, and to reload it.\nRun: certbot renew --cert-name "
                    f"{shlex.quote(taken.live.name)} --installer pinkeep --pinkeep-header {beside.name}"
                )


def _published(report: Report) -> str:
    if report.unpinned:
        return f"Nobody holds pins of the keyring {report.keyring} any more: no header is left"
    what = "Pinned" if report.adopted else "Changed the pins of"
    return f"{what} the keyring {report.keyring}: {len(report.pins)} pins"


@contextmanager
def _certbots_errors() -> Iterator[None]:
    from certbot_pinkeep.core.errors import PinkeepError

    try:
        yield
    except PinkeepError as error:
        raise errors.PluginError(str(error)) from error
    except OSError as error:
        raise errors.PluginError(
            f"{error.filename or 'A file'} cannot be read or written: {error.strerror or error}. Mend "
            "that, and run 'certbot renew --installer pinkeep' "
            "again."
        ) from error


# Certbot loads this module at every run, before it reads its command line and takes its functions.
_watch()
