"""Histories of several lineages that share keyrings: they join, move and are deleted, in any order."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from histories import DAY, HOUR, SPANS
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from many_sites import API, BARE, OTHER_TYPE, TWIN, WWW, ManySites

from certbot_pinkeep.adapters import revocation
from certbot_pinkeep.core.kinds import KeyType

HOSTS = st.sampled_from([BARE, WWW, API])
KEYRINGS = st.sampled_from(["one", "one", "two"])
NUMBER = st.integers(0, 100)
AGES = st.sampled_from([HOUR, 10 * DAY, 60 * DAY, 400 * DAY])
LABELS = st.sampled_from(["1", "2"])
TYPES = st.sampled_from(["ecdsa", "rsa"])


class Shared(RuleBasedStateMachine):
    """Lineages come and go, and are renewed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pinkeep-sites-"))
        self.machine = ManySites(self.folder)

    def teardown(self) -> None:
        """Forget this world."""
        shutil.rmtree(self.folder)

    def one(self, number: int) -> str | None:
        """One of the lineages."""
        names = sorted(self.machine.sites)
        return names[number % len(names)] if names else None

    @initialize(together=st.booleans(), subdomains=st.booleans(), neighbours=st.booleans())
    def the_sites_are_pinned(self, together: bool, subdomains: bool, neighbours: bool) -> None:
        """Those that are doubled stay neighbours, which somebody else renews, or join."""
        if together:
            self.machine.settings["one"] = {"include-subdomains": subdomains}
            for name, site in self.machine.sites.items():
                if not (neighbours and name in (TWIN, OTHER_TYPE)):
                    site.keyring = "one"
            self.machine.run(sorted(n for n, s in self.machine.sites.items() if s.keyring), set())

    @rule(days=SPANS)
    def time_passes(self, days: float) -> None:
        self.machine.passes(timedelta(days=days))

    @rule(due=st.sets(NUMBER, max_size=3))
    def certbot_renews_what_is_due(self, due: set[int]) -> None:
        names = sorted(name for name, site in self.machine.sites.items() if site.keyring)
        self.machine.run(names, {names[number % len(names)] for number in due if names})

    @rule(number=NUMBER, keyring=KEYRINGS, renewed=st.booleans())
    def a_lineage_is_told_its_keyring(self, number: int, keyring: str, renewed: bool) -> None:
        name = self.one(number)
        if name is not None:
            self.machine.sites[name].keyring = keyring
            self.machine.run([name], {name} if renewed else set())

    @rule(keyring=KEYRINGS)
    def the_admin_includes_the_snippet_and_confirms(self, keyring: str) -> None:
        self.machine.confirm(keyring)

    @rule(host=HOSTS, key_type=TYPES, keyring=KEYRINGS, expressly=st.booleans())
    def a_certificate_is_asked_for(
        self, host: str, key_type: KeyType, keyring: str, expressly: bool
    ) -> None:
        name = host if key_type == "ecdsa" else f"{host}-rsa"
        if name not in self.machine.sites:
            self.machine.new(name, host, key_type, keyring, expressly)

    @rule(number=NUMBER)
    def a_lineage_is_deleted(self, number: int) -> None:
        name = self.one(number)
        if name is not None and len(self.machine.sites) > 1:
            self.machine.delete(name)

    @rule(
        keyring=KEYRINGS,
        max_age=AGES,
        subdomains=st.booleans(),
        backups=st.integers(1, 2),
        days=st.sampled_from(["0", "730", "never"]),
    )
    def the_admin_changes_options(
        self, keyring: str, max_age: int, subdomains: bool, backups: int, days: str
    ) -> None:
        self.machine.settings[keyring] = {
            "max-age": max_age,
            "include-subdomains": subdomains,
            "backup-keys": backups,
            "rollover-days": days,
        }

    @rule(keyring=KEYRINGS, when_safe=st.booleans())
    def the_admin_asks_for_a_rollover(self, keyring: str, when_safe: bool) -> None:
        self.machine.ask(keyring, when_safe, False)

    @rule()
    def something_reloads_apache(self) -> None:
        self.machine.reload()


class SharedCarried(Shared):
    """Apps carry the pins of a keyring, at the names that it has then."""

    @rule(keyring=KEYRINGS, label=LABELS, days=st.sampled_from([20, 100, 400]))
    def an_app_is_built_or_used_for_longer(self, keyring: str, label: str, days: int) -> None:
        self.machine.release(keyring, label, days)

    @rule(keyring=KEYRINGS, label=LABELS)
    def an_app_is_not_used_any_more(self, keyring: str, label: str) -> None:
        self.machine.withdraw(keyring, label)


class SharedKilled(Shared):
    """The power goes at any moment of the next run."""

    @rule(steps=st.integers(0, 60))
    def certbot_is_going_to_be_killed(self, steps: int) -> None:
        self.machine.kill_after = steps


class SharedRevoked(Shared):
    """Certificates are revoked, keys become known to others."""

    @rule(keyring=KEYRINGS)
    def the_keys_are_known_to_others(self, keyring: str) -> None:
        self.machine.ask(keyring, True, True)

    @rule(number=NUMBER, compromised=st.booleans())
    def a_certificate_is_revoked(self, number: int, compromised: bool) -> None:
        name = self.one(number)
        if name is not None:
            self.machine.revoke(name, compromised)

    @rule(reason=st.sampled_from(["superseded", "keyCompromise"]))
    def a_certificate_is_revoked_by_others(self, reason: str) -> None:
        self.machine.answer = revocation.Answer(True, reason)
