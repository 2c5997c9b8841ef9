"""What a run does in a config dir, as the tests of the workflow call it: a workspace, and its verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core.earlier_headers import Found
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.storage import settings
from certbot_pinkeep.workflow import earlier_headers, enrol, issue, move, run, stage
from certbot_pinkeep.workflow.issue_request import IssueRequest
from certbot_pinkeep.workflow.publish import Enrolled, Failure, Publisher, Report
from certbot_pinkeep.workflow.workspace import Look, Workspace


class Workflow(Workspace):
    """A workspace with what is done in it by one process."""

    def __init__(self, config_dir: str, work_dir: str, look: Look | None = None) -> None:
        super().__init__(config_dir, work_dir, look)
        self.publisher = Publisher(self)

    def enrol(
        self,
        live: Live,
        chosen: Options,
        now: datetime,
        remember: Callable[[], None] | None = None,
        pinned_before: bool = False,
    ) -> Enrolled:
        """Record a lineage; :meth:`publish` comes next."""
        self.note_pinned(live.name, pinned=pinned_before)
        enrolled = enrol.enrol(self, live, chosen, now, remember=remember)
        self.publisher.add(enrolled)
        return enrolled

    def keep(
        self,
        live: Live,
        chosen: Options,
        now: datetime,
        remember: Callable[[], None] | None = None,
        pinned_before: bool = False,
    ) -> Report:
        """Record a lineage, and publish its keyring."""
        self.enrol(live, chosen, now, remember, pinned_before)
        return self.publish(chosen.keyring, now)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The keyrings that are to be published."""
        return self.publisher.waiting

    def publish(self, keyring: str, now: datetime) -> Report:
        """Publish a keyring."""
        return self.publisher.publish(keyring, now)

    def publish_all(
        self, keyrings: Iterable[str], now: datetime
    ) -> tuple[list[Report], list[Failure]]:
        """Publish several keyrings at once."""
        return self.publisher.publish_all(keyrings, now)

    def handover(
        self,
        live: Live,
        keyring: str,
        names: Iterable[str],
        now: datetime,
        **more: Any,
    ) -> KeyAndCsr:
        """What a renewal is issued for."""
        self.note_pinned(live.name, pinned=bool(more.pop("pinned_before", False)))
        request = IssueRequest(live.name, keyring, tuple(names), now, live, **more)
        return issue.handover(self, request)

    def handover_new(
        self,
        lineage: str,
        keyring: str,
        key_type: KeyType,
        names: Iterable[str],
        must_staple: bool,
        now: datetime,
        dry_run: bool = False,
        kind: KeyKind | None = None,
    ) -> KeyAndCsr | None:
        """What a new certificate is issued for."""
        request = IssueRequest(
            lineage,
            keyring,
            tuple(names),
            now,
            key_type=key_type,
            kind=kind,
            must_staple=must_staple,
            dry_run=dry_run,
        )
        return run.handover_new(self, self.publisher, request)

    def is_still_chosen(
        self, live: Live, keyring: str, names: Iterable[str], pin: str, now: datetime
    ) -> bool:
        """Whether a certificate for this key may be stored."""
        request = IssueRequest(live.name, keyring, tuple(names), now, live)
        return issue.is_still_chosen(self, request, pin)

    def values(
        self,
        lineage: str,
        given: Mapping[str, object],
        remembered: Mapping[str, str],
        names: Iterable[str],
        now: datetime,
    ) -> dict[str, object]:
        """The options that count for a lineage."""
        by_host = partial(move.keyring_at, self, names, now)
        return settings.values(self.store, lineage, given, remembered, by_host)

    def keyring_at(self, names: Iterable[str], now: datetime) -> str | None:
        """The keyring that pins any of the names."""
        return move.keyring_at(self, names, now)

    def sent_at(self, names: tuple[str, ...]) -> Found | None:
        """What hosts send."""
        return earlier_headers.look_at(self, names)

    def pin_key(self, keyring: str, pem: bytes, now: datetime) -> None:
        """Record a key that clients pin already."""
        stage.pin_key(self, keyring, pem, now)


def take_turn(
    one: run.Run,
    live: Live,
    values: Mapping[str, object],
    chosen: Options,
    *,
    pinned_before: bool = False,
    issued: bool = False,
) -> Enrolled:
    """A lineage has its turn in a run, with these options."""
    one.loader.note(live.name, chosen.keyring, values, issued=issued)
    one.workspace.note_pinned(live.name, pinned=pinned_before)
    return one.enrol(values, live, chosen, None)
