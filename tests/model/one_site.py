"""A world with one site, to prove G2 in: what its admin, its CA and its machine do."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import revocation
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core import explain, pins, rollover
from certbot_pinkeep.core.errors import Compromised, PinkeepError
from certbot_pinkeep.core.holdings import Entry, Holding, Release
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.options import DEFAULT_MAX_AGE, Options
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.storage import keys_and_csrs
from certbot_pinkeep.workflow import offline_backups, releases, requests
from simulated.kill import Killed
from simulated.values import pin_of_key
from simulated.visitors import Served
from simulated.world import BEGIN, COMMAND, World

NAME = "www.pin.test"
EC = KeyKind("ecdsa", "secp256r1")
_pin_of = lru_cache(maxsize=512)(pins.pin_of_certificate)


class OneSite(World):
    """One machine with one site, and everybody who ever visited it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.saved = folder / "saved"
        self.set_back = timedelta(0)
        self.set_back_at = BEGIN
        self.chosen = Options(NAME, configtest=self.apache.configtest, reload=(self.apache.reload,))
        self.reload_works = True
        self.by_hand = False
        self.kill_in_reload = False
        #: Whom a forced rollover was announced to lock out: by which key, until when; ``None``: or later.
        self.announced: dict[tuple[str, Policy], datetime | None] = {}
        #: What apps carry, by their labels; the private keys of backups that are kept offline.
        self.apps: dict[str, Policy] = {}
        self.offline: dict[str, bytes] = {}
        self.announcement: tuple[str, Ledger, datetime] | None = None
        #: Whether every switch of what is served is on record with its true time.
        self.on_time = True
        #: The key that came back with an old config dir, without pinkeep.
        self.foreign: str | None = None
        self.unrecorded = False
        self.issue(NAME)
        self.loaded = {NAME: Served(NAME, self.live_pin, None)}

    # What there is

    @property
    def clock(self) -> datetime:
        """What the machine's clock says."""
        return self.time - self.set_back

    @property
    def file(self) -> Path:
        """The keyring file."""
        return self.config / "pinkeep" / f"{NAME}.conf"

    @property
    def live(self) -> Live:
        """What is live."""
        return self.look(NAME)

    @property
    def live_pin(self) -> str:
        """The pin of what is live."""
        return _pin_of((self.config / "live" / NAME / "cert.pem").read_bytes())

    @property
    def served(self) -> Served:
        """What Apache serves."""
        return self.loaded[NAME]

    @property
    def adopted(self) -> bool:
        """Whether the site is pinned."""
        return self.file.exists()

    # What happens

    def passes(self, time: timedelta) -> None:
        """Time passes; clients visit all the while. A clock that was set back is set right before
        it comes to a moment that it showed before: from then on nobody could tell."""
        self.time += time
        if self.clock >= self.set_back_at:
            self.set_back = min(self.set_back, timedelta(0))
        self._visits()

    def run(self) -> None:
        """``certbot renew``, when nothing is due."""
        with self.process():
            self._keep()

    def renew(self) -> None:
        """``certbot renew``, when the certificate is due."""
        self.announcement = None
        with self.process():
            before, safe = self.live_pin, self._safe_backups()
            handed = self._handover()
            if handed is None:
                return
            self.issue(NAME, handed.key_pem)
            self.answer = revocation.Answer(None)
            self._expect_victims(handed.pin)
            if safe and self.chosen.rollover_days == 0:
                assert handed.pin != before, "a rollover is due and safe, and is left out"
            self._keep()

    def _handover(self) -> KeyAndCsr | None:
        """What the renewal is issued for. Only a compromised key may lose a renewal (G3), and it is
        never handed over."""
        self.look_for_compromised(NAME)
        gone = self.compromised | ({self.live_pin} if self.answer.compromised else set())
        try:
            handed = self.workflow.handover(
                self.live, NAME, [NAME], self.clock, chosen=self.chosen, pinned_before=self.adopted
            )
        except PinkeepError as error:
            # With an old config dir the live key may be another one than the record's.
            lost = self.live_pin in gone or (gone and isinstance(error, Compromised))
            assert lost, f"the renewal is lost: {error}"
            return None
        assert handed.pin not in gone, "a compromised key is handed over"
        return handed

    def _safe_backups(self) -> set[str]:
        """The backups to which a rollover is certain to be safe, as long as all went as it should:
        they are in whatever anybody holds."""
        if not self.on_time or self.served.policy is None or self.offline:
            return set()
        found = set(self.served.policy.pins) - {self.live_pin}
        for (held, _), until in self.visitors.held.items():
            found -= set() if until <= self.time else found - set(held.pins)
        return found

    def ask(self, when_safe: bool, compromised: bool, force: bool) -> None:
        """``certbot-pinkeep rollover``."""
        with self.process():
            requests.ask(
                self.workflow,
                NAME,
                self.clock,
                when_safe=when_safe,
                compromised=compromised,
                force=force,
            )
        self.look_for_compromised(NAME)

    def revoke(self, compromised: bool) -> None:
        """``certbot revoke``."""
        with self.process():
            requests.note_revoked(self.workflow, self.live_pin, self.clock, compromised=compromised)
        self.look_for_compromised(NAME)

    def release(self, days: int) -> None:
        """An app is built with the pins of today; people use it for so long."""
        label, until = str(len(self.apps)), self.time + timedelta(days=days)
        with self.process():
            carried = releases.add(
                self.workflow,
                releases.ReleaseRequest(NAME, "app", label, until, timedelta(0)),
                self.clock,
            ).pins
            # As if it was a policy that nobody else has.
            app = Policy(carried, 10**9 + len(self.apps))
            self.apps[label] = app
            self.visitors.held[app, NAME] = until

    def withdraw(self, number: int) -> None:
        """Nobody uses an app any more, and the admin says so."""
        label = str(number % max(len(self.apps), 1))
        if label in self.apps:
            self.visitors.held.pop((self.apps[label], NAME), None)
        with self.process():
            releases.end(self.workflow, releases.ReleaseRequest(NAME, "app", label), self.clock)

    def extend(self, number: int, days: int) -> None:
        """An app is used for longer than was said."""
        label, until = str(number), self.time + timedelta(days=days)
        with self.process():
            known = releases.extend(
                self.workflow, releases.ReleaseRequest(NAME, "app", label, until), self.clock
            )
            self.visitors.held[self.apps[label], NAME] = until
            # The command says which keys lock it out, and until when.
            for release in known:
                for pin in releases.refused(self.workflow, NAME, release):
                    self.announced[pin, self.apps[label]] = release.binds_until(self.clock)

    def add_offline(self) -> None:
        """The admin pins a key whose private half is offline."""
        pem = self.make_key(EC)
        self.offline[pin_of_key(pem)] = pem
        with self.process():
            csr = keys_and_csrs.make_csr(pem, [NAME], must_staple=False)
            offline_backups.add_public(self.workflow, NAME, csr, "offline.csr", self.clock)
            self._keep()

    def bring(self) -> None:
        """The admin brings the private keys of all backups that are offline."""
        for pem in self.offline.values():
            with self.process():
                brought = offline_backups.Imported("offline.key", load_private_key(pem))
                offline_backups.add_private(self.workflow, NAME, brought, self.clock, new=True)

    def drop(self, number: int) -> None:
        """The admin drops a backup."""
        with self.process():
            policy = self.workflow.store.known(NAME)[0].ledger.current
            assert policy is not None
            offline_backups.drop(
                self.workflow, NAME, policy.pins[number % len(policy.pins)], self.clock
            )
            self._keep()

    def unpin(self, undo: bool) -> None:
        """``certbot-pinkeep unpin``."""
        with self.process():
            requests.unpin(self.workflow, NAME, self.clock, undo=undo)
            self._keep()

    def serves(self) -> dict[str, Served]:
        """What Apache would serve if it was reloaded now."""
        text = self.snippet(NAME).read_text() if self.snippet(NAME).exists() else ""
        return {NAME: Served(NAME, self.live_pin, apache.read_policy(text))}

    def reload(self) -> None:
        """Somebody or something reloads Apache, and pinkeep is not told."""
        if self.live_pin != self.foreign:
            self.foreign = None
        super().reload()

    def confirm(self) -> None:
        """The admin reloads Apache and says so."""
        self.reload()
        with self.process():
            requests.confirm(self.workflow, NAME, self.clock)

    def confirm_clock(self) -> None:
        """The admin says that the clock is right."""
        with self.process():
            requests.confirm_clock(self.workflow, NAME, self.clock)

    def back_up(self) -> None:
        """The admin copies the config dir."""
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(self.config, self.saved, symlinks=True)

    def put_back(self) -> None:
        """The admin puts the copy back."""
        self.on_time = False
        before = self.live_pin
        shutil.rmtree(self.config)
        shutil.copytree(self.saved, self.config, symlinks=True)
        if self.live_pin != before:
            self.foreign = self.live_pin
            self.unrecorded = False

    def without_keys(self) -> None:
        """The folder of the keys is away while certbot runs: not mounted, say."""
        keys, away = self.config / "keys", self.config / "keys.away"
        if keys.exists():
            keys.rename(away)
            self.run()
            shutil.rmtree(keys, ignore_errors=True)
            away.rename(keys)

    def lose_key(self, number: int) -> None:
        """The file of a key is lost."""
        self.on_time = False
        files = sorted((self.config / "keys").iterdir())
        if files:
            files[number % len(files)].unlink()

    def lose_file(self, shadow: bool) -> None:
        """The keyring file is lost; with *shadow*, the copy below the work dir as well."""
        self.on_time = False
        self.file.unlink(missing_ok=True)
        if shadow:
            shutil.rmtree(self.work / "pinkeep", ignore_errors=True)
            self.compromised.clear()
            self.unrecorded = self.foreign is not None
            self._add_again()
            # An old config dir that is put back after that looks as good as the last one.
            shutil.rmtree(self.saved, ignore_errors=True)

    def _add_again(self) -> None:
        """The admin has the site pinned anew, and adds the apps again with the pins that they have.
        Those that this comes too late for are lost for good."""
        carried = {
            app: self.visitors.held.pop((app, NAME))
            for app in self.apps.values()
            if (app, NAME) in self.visitors.held
        }
        self.run()
        for label, app in self.apps.items():
            if app in carried and {self.live_pin, self.served.pin} <= set(app.pins):
                with self.process():
                    wanted = releases.ReleaseRequest(
                        NAME, "app", label, carried[app], pins=app.pins
                    )
                    releases.add(self.workflow, wanted, self.clock)
                    self.visitors.held[app, NAME] = carried[app]

    def long_held(self) -> bool:
        """Whether a client holds pins for longer than can be told without any record."""
        known = timedelta(seconds=max(self.chosen.max_age, DEFAULT_MAX_AGE))
        apps = self.apps.values()
        held = [until for (policy, _), until in self.visitors.held.items() if policy not in apps]
        return any(until > self.time + known for until in held)

    # What must hold

    def is_excused(self, served: Served) -> bool:
        """Whether a key is served that came back with an old config dir, and no record was left."""
        return self.unrecorded and served.pin == self.foreign

    def was_told(self, served: Served, held: Policy, until: datetime) -> bool:
        """Whether a forced rollover was announced to lock them out."""
        if self.is_excused(served):
            return True
        announced = self.announced.get((served.pin, held), self.time - timedelta(days=1))
        return announced is None or until <= announced

    # How it happens

    def _keep(self) -> None:
        chosen = replace(self.chosen, reload=()) if self.by_hand else self.chosen
        pinned_before = self.versions[NAME] > 1 or self.snippet(NAME).exists()
        self.workflow.keep(self.live, chosen, self.clock, pinned_before=pinned_before)

    @contextlib.contextmanager
    def process(self) -> Iterator[None]:
        """A process: what it announces is heard."""
        if self.kill_after is not None or self.kill_in_reload or self.by_hand or self.set_back:
            self.on_time = False
        heard = self._announced(explain.announcement)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(explain, "announcement", heard)
            with super().process():
                yield
        self.kill_in_reload = False

    def _reloads(self) -> tuple[int, str]:
        if not self.reload_works:
            self.on_time = False
            self.passes(COMMAND)
            return 1, "it is stuck"
        done = super()._reloads()
        if self.kill_in_reload:
            self.killer.dead = True
            raise Killed
        return done

    def _announced(self, original: Callable[..., str]) -> Callable[..., str]:
        def announcement(
            key: Key, ledger: Ledger, now: datetime, hosts: tuple[str, ...] | None = None
        ) -> str:
            self.announcement = (key.pin, ledger, now)
            return original(key, ledger, now, hosts)

        return announcement

    def _expect_victims(self, pin: str) -> None:
        """From now on those may be locked out who were announced for this key."""
        if self.announcement is None or self.announcement[0] != pin:
            return
        _, ledger, now = self.announcement
        told = rollover.locked_out(pin, ledger, now)
        named = {one: self._held_as(one) for one in told}
        unknown = ledger.uncertainty(now) is not None
        real = {held for held, _ in self.visitors.held if pin not in held.pins}
        listed = set(named.values())
        if unknown:
            self.announced |= dict.fromkeys((pin, held) for held in real)
        elif self.on_time:
            assert listed == real, f"announced are {listed}, locked out are {real}"
        self.announced |= {
            (pin, named[one]): (
                None if isinstance(one, Entry) and not one.replaced else one.binds_until(now)
            )
            for one in told
        }

    def _held_as(self, one: Holding) -> Policy:
        assert isinstance(one, Entry | Release)
        return one.policy if isinstance(one, Entry) else self.apps[one.label]
