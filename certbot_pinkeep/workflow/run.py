"""One run of certbot through its lineages: enrolled one by one, published together.

The rules:

* ``certbot renew`` publishes the snippets and reloads the server when the last pinned lineage has had its
  turn; should that one fail before, when certbot ends. All other verbs have one lineage, and publish at once.
* Whatever went wrong, the server loads what was renewed after that: see ``load`` (G12).
* A run looks whether a certificate has come, changed or gone that is not enrolled: at its begin, and again
  when certbot ends, because another installer may have renewed it meanwhile. If it is for a host of a
  keyring, that keyring is published, though its lineages are up to date.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from certbot_pinkeep.adapters import clock, renewal_conf
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core.errors import (
    NotCovered,
    PinkeepError,
    TypeMissing,
)
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.text import listed
from certbot_pinkeep.storage.uptodate import CERTIFICATES, Note
from certbot_pinkeep.workflow import enrol, enrolled, first_look, issue, stage, zone
from certbot_pinkeep.workflow.first_look import FirstLook
from certbot_pinkeep.workflow.issue_request import IssueRequest
from certbot_pinkeep.workflow.load import Loader
from certbot_pinkeep.workflow.publish import Enrolled, Failure, Publisher, Report
from certbot_pinkeep.workflow.workspace import Workspace

if TYPE_CHECKING:
    from certbot_pinkeep.core.observations import TlsObservation

logger = logging.getLogger(__name__)


class Run:
    """What one process does with the lineages of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    :param first: the look of this process that comes before; ``None``: none
    """

    def __init__(self, config_dir: str, work_dir: str, first: FirstLook | None = None) -> None:
        self.first = first or FirstLook(config_dir, work_dir)
        self.first.is_over = True
        self.config_dir = config_dir
        self.workspace = Workspace(config_dir, work_dir, _glance)
        self.publisher = Publisher(self.workspace)
        self.cache = self.first.cache
        self._values: dict[str, Mapping[str, object]] = {}
        self.loader = Loader(self.workspace, self.publisher.tried)
        self._certificates: dict[str, object] | None = None  # their files as of the last look
        self._failed = False
        self._enrolled: frozenset[str] | None = None
        self._last: str | None = None

    def enrol(
        self,
        values: Mapping[str, object],
        live: Live,
        chosen: Options,
        remember: Callable[[], None] | None,
    ) -> Enrolled:
        """Record what is live; :meth:`finish` publishes it.

        :param values: the options as text
        """
        self._values[live.name] = values
        one = enrol.enrol(self.workspace, live, chosen, clock.now(), remember=remember)
        self.publisher.add(one)
        return one

    def notice(self) -> bool:
        """Have the keyrings published at whose hosts a certificate is another than at the last run; once in
        this run, which is noted as having been at this time.

        :returns: whether this is the first look of this run
        """
        if self._certificates is not None:
            return False
        self.workspace.store.tick(clock.now())
        self.first.begin()
        self._certificates = dict(self.first.noted or {})
        self.notice_again()
        return True

    def notice_again(self) -> None:
        """Have the keyrings published at whose hosts a certificate is another than at the last look."""
        certificates, before = self.workspace.certificates, self._certificates or {}
        self._certificates = now = certificates.stamps()
        changed = {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}
        if changed:
            certificates.refresh(changed)
            self.publisher.notice(self._concerned(changed))

    def _concerned(self, changed: set[str]) -> list[str]:
        """Return the keyrings that have one of these lineages as a neighbour, or are to have it. Add those
        that a lineage was deleted of: their headers go out at its hosts no more."""
        found = []
        for state in self.workspace.trusted():  # the others' lineages tell what is wrong
            enrolled = {member.lineage for member in state.keyring.drawing}
            near = {one.lineage for one in self.workspace.certificates.at(state.keyring.hosts)}
            near |= {member.lineage for member in state.keyring.neighbours}
            gone = {one for one in changed & enrolled if self.workspace.store.is_deleted(one)}
            if enrolled and (changed & near - enrolled or (gone and gone != enrolled)):
                found.append(state.keyring.name)
        return found

    def is_enrolled(self, lineage: str) -> bool:
        """Return whether the lineage draws on a keyring that has not left pinning; see ``enrolled``."""
        if self._enrolled is None:
            self._enrolled = enrolled.lineages(self.workspace, self.cache)
        return lineage in self._values or lineage in self._enrolled

    def last(self, is_everyone: Callable[[], bool]) -> str:
        """Return the lineage of which pinkeep hears last in ``certbot renew``, if all goes well; empty: none.

        :param is_everyone: tells whether all lineages are pinkeep's in this run, because the admin says so.
            Certbot takes long to tell, and tells the same for each of them.
        """
        if self._last is None:
            self._last = self._find_last(everyone=is_everyone())
        return self._last

    def _find_last(self, *, everyone: bool) -> str:
        for name in reversed(renewal_conf.names(self.config_dir)):
            with suppress(PinkeepError):
                if (
                    everyone
                    or self.is_enrolled(name)
                    or renewal_conf.is_ours(self.config_dir, name)
                ):
                    return name
        return ""

    @property
    def waiting(self) -> bool:
        """Whether something is to be published or loaded."""
        return bool(self.publisher.waiting) or self.loader.waiting

    def finish(self) -> list[Report]:
        """Publish what was enrolled, and have renewed certificates loaded in any case.

        :raises PinkeepError, OSError: if something of it could not be published; the rest is
        """
        waiting, self.publisher.present = self.publisher.waiting, self.loader.present
        try:
            reports, failures = self.publisher.publish_all(waiting, clock.now())
        finally:
            self.loader.load(clock.now())
        failures += self._bring_zones_up_to_date(waiting)
        for report in reports:
            report.issued = any(self.loader.is_new(one.live) for one in report.enrolled)
            self._stamp(report)
        if failures:
            self._failed = True
            _raise(failures, several=len(waiting) > 1)
        if self._certificates is not None and not self._failed:
            self.cache.note(CERTIFICATES, self._certificates)
        return reports

    def _bring_zones_up_to_date(self, keyrings: Iterable[str]) -> list[Failure]:
        """Look at the zones of keyrings, and write what they lack.

        :returns: what the admin has to see to
        """
        outcomes, errors = zone.bring_all_up_to_date(self.workspace, keyrings, clock.now())
        for one in outcomes:
            error = one.error()
            if error is not None:
                errors.append((one.keyring, error))
            elif one.missing:
                logger.warning(
                    "Not every name server has the new records of the keyring %s yet. pinkeep looks "
                    "again at the next run.",
                    one.keyring,
                )
        return [Failure(*one) for one in errors]

    def _stamp(self, report: Report) -> None:
        """Note the lineages of a keyring that are up to date."""
        store, folders = self.workspace.store, self.workspace.folders
        shared = [store.path(report.keyring), report.snippet, os.path.dirname(report.snippet)]
        shared += [
            folders.absolute(key.path)
            for key in report.state.keyring.keys
            if key.path and key.role != "retired"
        ]
        shared += [folders.keys, folders.csrs]
        enrolled = [one for one in report.enrolled if one.live.name in self._values]
        # The others are a hook's: certbot's own run is still to come.
        try:
            if report.settled:
                notes = {one.live.name: self._note_of(one) for one in enrolled}
                self.cache.set(notes, shared)
                return
            for one in enrolled:
                self.cache.clear(one.live.name)
        except OSError as error:
            logger.debug("No note: %s", error)

    def _note_of(self, one: Enrolled) -> Note:
        live = one.live
        paths = [os.path.join(os.path.dirname(live.key_path), "cert.pem"), live.key_path]
        # By whom it is renewed is noted there.
        paths.append(renewal_conf.path_of(self.config_dir, live.name))
        paths += one.csr_paths
        if one.chosen.include_subdomains:
            # Whatever certificate comes to this machine may be below it.
            paths.append(os.path.join(self.config_dir, "renewal", ""))
        return Note({**self._values[live.name], "keyring": one.chosen.keyring}, paths)


def _glance(names: Sequence[str]) -> list[TlsObservation]:
    from certbot_pinkeep.adapters import probe

    return probe.glance(names)


@lru_cache(maxsize=16)
def of(config_dir: str, work_dir: str) -> Run:
    """Return the run of this process. Certbot makes an installer for each lineage; this is what they
    share."""
    return Run(config_dir, work_dir, first_look.of(config_dir, work_dir))


def handover_new(
    workspace: Workspace, publisher: Publisher, request: IssueRequest
) -> KeyAndCsr | None:
    """Choose as :func:`issue.handover_new`, and publish keys of a type that is missing in advance."""
    try:
        return issue.handover_new(workspace, request)
    except TypeMissing as missing:
        if request.dry_run:
            raise
        began, keyring = clock.seconds(), missing.keyring
        stage.stage_type(workspace, keyring, missing.kind, request.now)
        _, failures = publisher.publish_all([keyring], request.now)
        for failure in failures:
            if not isinstance(failure.error, NotCovered):
                raise failure.error from missing
        done = clock.after(request.now, began)
        until = stage.type_is_safe(workspace, keyring, missing.kind, request.names, done)
        raise TypeMissing(keyring, missing.kind, until) from missing


def _raise(failures: list[Failure], *, several: bool) -> NoReturn:
    """Tell what went wrong, each thing once.

    :param several: whether keyrings have to be named: certbot blames the last lineage of the run
    """
    told: dict[str, list[str]] = {}
    for failure in failures:
        told.setdefault(str(failure.error), []).append(failure.keyring)
    if not several and len(told) == 1:
        raise failures[0].error
    wrong = [
        f"Keyring{'s' if len(names) > 1 else ''} {', '.join(dict.fromkeys(names))}: {text}"
        for text, names in told.items()
    ]
    what = "Not every keyring could be brought up to date."
    raise PinkeepError(what, listed(wrong)) from failures[0].error
