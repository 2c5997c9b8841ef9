"""One run of certbot through its lineages: taken in one by one, published together.

The rules:

* Within ``certbot renew`` the snippets are published, and Apache is reloaded, when the last lineage
  that pinkeep keeps has had its turn; should that one fail before, when certbot ends. All other
  verbs have one lineage, and publish at once.
* Where a keyring cannot be published, Apache still loads the renewed certificates (G3), unless that
  would lock clients out, or Apache itself is what fails.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NoReturn

from certbot_pinkeep import moments, options, renewals
from certbot_pinkeep.errors import ApacheFailed, BadOption, LocksOut, NotCovered, PinkeepError
from certbot_pinkeep.keeper import Keeper
from certbot_pinkeep.lineage import Live
from certbot_pinkeep.options import Options
from certbot_pinkeep.publishing import Failure, Report, Taken
from certbot_pinkeep.stamps import Stamps

logger = logging.getLogger(__name__)


class Round:
    """What one process does with the lineages of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    """

    def __init__(self, config_dir: str, work_dir: str) -> None:
        self.config_dir = config_dir
        self.keeper = Keeper(config_dir, work_dir)
        self.stamps = Stamps(work_dir)
        self._values: dict[str, Mapping[str, object]] = {}
        self._issued: dict[str, Live] = {}

    def take_in(
        self,
        live: Live,
        values: Mapping[str, object],
        chosen: Options,
        remember: Callable[[], None],
        pinned_before: bool,
        issued: bool,
    ) -> Taken:
        """Record what is live; :meth:`finish` publishes it.

        :param values: the options as text, for the stamp
        :param issued: whether the certificate is new in this run
        :raises PinkeepError, OSError: as :meth:`Keeper.take_in`
        """
        if issued:
            self._issued[live.name] = live
        self._values[live.name] = values
        try:
            return self.keeper.take_in(live, chosen, moments.now(), remember, pinned_before)
        except Exception as error:
            self._serve(error, live, chosen.keyring, values)
            raise

    @property
    def waiting(self) -> bool:
        """Whether something is to be published."""
        return bool(self.keeper.waiting)

    def finish(self) -> list[Report]:
        """Publish what was taken in.

        :raises PinkeepError, OSError: when something of it could not be published; the rest is
        """
        waiting = self.keeper.waiting
        reports, failures = self.keeper.publish_all(waiting, moments.now())
        for report in reports:
            self._stamp(report)
        for failure in failures:
            self._serve_all(failure)
        if failures:
            _raise(failures, len(waiting) > 1)
        return reports

    def serve(
        self, lineage: str, pin: str | None, keyring: str, values: Mapping[str, object]
    ) -> None:
        """Have a renewed certificate served though something else is wrong (G3).

        :param pin: of its key; ``None``: it is of a kind that is never pinned
        """
        try:
            words = options.reload_command(values)
            if self.keeper.reload_certificate(lineage, pin, keyring, words):
                logger.info("Reloaded Apache with the renewed certificate of %s.", lineage)
        except PinkeepError as error:
            logger.error("%s", error)

    def _serve(
        self, error: Exception, live: Live, keyring: str, values: Mapping[str, object]
    ) -> None:
        held = (ApacheFailed, LocksOut, BadOption)  # of a bad option the caller tells more
        if live.name in self._issued and not isinstance(error, held):
            self.serve(live.name, live.pin, keyring, values)

    def _serve_all(self, failure: Failure) -> None:
        """The same for all renewed certificates of a keyring, with one reload. Where it is about
        subdomains, Apache was reloaded."""
        issued = [live for live in failure.lives if live.name in self._issued]
        accepted = all(self.keeper.may_be_accepted(one.pin, failure.keyring) for one in issued)
        if issued and accepted and not isinstance(failure.error, NotCovered):
            last = issued[-1]
            self._serve(failure.error, last, failure.keyring, self._values[last.name])

    def _stamp(self, report: Report) -> None:
        folders = [os.path.join(self.config_dir, name) for name in ("keys", "csr")]
        for taken in report.taken:
            live = taken.live
            watched = [os.path.join(os.path.dirname(live.key_path), "cert.pem"), live.key_path]
            # By whom it is renewed is noted there.
            watched.append(os.path.join(self.config_dir, "renewal", f"{live.name}.conf"))
            paths = [*watched, *report.files, *taken.csr_paths, *folders]
            if taken.chosen.include_subdomains:
                # Whatever certificate comes to this machine may be below it.
                paths.append(os.path.join(self.config_dir, "renewal", ""))
            try:
                if report.settled:
                    self.stamps.set(live.name, self._values[live.name], paths)
                else:
                    self.stamps.clear(live.name)
            except OSError as error:
                logger.debug("No stamp: %s", error)


@lru_cache(maxsize=16)
def of(config_dir: str, work_dir: str) -> Round:
    """The round of this process. Certbot makes an installer for each lineage; this is what they
    share."""
    return Round(config_dir, work_dir)


@lru_cache(maxsize=16)
def last(config_dir: str, everyone: bool) -> str | None:
    """The lineage of which pinkeep hears last in ``certbot renew``, if all goes well.

    :param everyone: whether all lineages are pinkeep's in this run, because the admin says so
    """
    for name in reversed(renewals.names(config_dir)):
        with suppress(PinkeepError):
            renewal = renewals.load(config_dir, name)
            if everyone or (renewal is not None and renewal.installer == "pinkeep"):
                return name
    return None


def _raise(failures: list[Failure], several: bool) -> NoReturn:
    """Tell what went wrong, each thing once.

    :param several: whether keyrings have to be named: certbot blames the last lineage of the run
    """
    told: dict[str, list[str]] = {}
    for failure in failures:
        told.setdefault(str(failure.error), []).append(failure.keyring)
    if not several and len(told) == 1:
        raise failures[0].error
    parts = [
        f"The keyring{'s' if len(names) > 1 else ''} {', '.join(dict.fromkeys(names))} could not be "
        f"brought into step: {text}"
        for text, names in told.items()
    ]
    raise PinkeepError(" ".join(parts)) from failures[0].error
