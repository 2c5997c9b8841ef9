"""Which options count for a lineage within one command of certbot, and which keyring it has by them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from certbot_pinkeep.adapters import clock, renewal_conf
from certbot_pinkeep.adapters import lineage as lineages
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import BadKey, BadOption, PinkeepError
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.storage import settings
from certbot_pinkeep.workflow import move
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)


class Given:
    """The options that count for the lineages of one configuration of certbot."""

    def __init__(self, config: Any, workspace: Workspace) -> None:
        self.config = config
        self.workspace = workspace
        self._renewals: dict[str, Renewal | None] = {}

    def keyring(self, lineage: str, names: Sequence[str] | None = None) -> str:
        """Return the name of the lineage's keyring; if the option's value is bad, the lineage's name.

        :param names: of its certificate; ``None``: of the one that is live
        """
        try:
            return options.keyring_name(self.values(lineage, names)["keyring"], lineage)
        except BadOption as error:
            # If something is written, enrolling tells.
            logger.log(logging.ERROR if self.config.dry_run else logging.DEBUG, "%s", error)
            return lineage

    def options(self, lineage: str) -> Options:
        """Return the options of a lineage, checked.

        :raises BadOption: for one that cannot be used
        """
        return options.parse(self.values(lineage), lineage)

    def options_if_sound(self, lineage: str) -> Options | None:
        """Return the options; ``None`` if one is bad, which is told once the renewal is done (G3)."""
        try:
            return self.options(lineage)
        except BadOption:
            return None

    def values(
        self, lineage: str | None = None, names: Sequence[str] | None = None
    ) -> dict[str, object]:
        """Return the options that are given in this run.

        :param lineage: adds what counts for its keyring
        :param names: of its certificate; ``None``: of the one that is live
        """
        own = options.given(self.config)
        if lineage is None:
            return own
        renewal = self.renewal(lineage)
        remembered = renewal.options if renewal is not None else {}

        def by_host() -> str | None:
            hosts = self.live_names(lineage) if names is None else names
            return move.keyring_at(self.workspace, hosts, clock.now())

        return settings.values(self.workspace.store, lineage, own, remembered, by_host)

    def live_names(self, lineage: str) -> tuple[str, ...]:
        """Return the hosts of the live certificate; none if it cannot be read."""
        try:
            return lineages.glance(self.workspace.live_file(lineage))[0]
        except BadKey as error:
            logger.debug("%s", error)
            return ()

    def renewal(self, name: str) -> Renewal | None:
        """Return the lineage's renewal file as it was before this run; certbot may write it anew."""
        if name not in self._renewals:
            self._renewals[name] = renewal_conf.load(self.config.config_dir, name)
        return self._renewals[name]

    def look(self, name: str) -> Live:
        """Look at the live certificate.

        :raises BadKey: if it cannot be read
        """
        return self.workspace.look(name, must_staple=bool(self.config.must_staple))

    def forget_unusable(self, name: str, error: BadOption) -> None:
        """Take those options of pinkeep 0.1 out of the renewal file that cannot be used."""
        renewal = self.renewal(name)
        stored = renewal.options if renewal is not None else {}
        bad = {*options.unusable(stored), error.option.removeprefix("--pinkeep-")}
        try:
            renewal_conf.take_out(self.config.config_dir, name, bad)
        except (PinkeepError, OSError) as why:
            logger.error("%s", why)
