"""A world to prove G2 in: a real keeper on real files, an Apache, a clock, and all clients there
could be.

The clients: whoever visits at a moment notes the policy that Apache sends then, and comes back at
any later moment. All of them at once are known by what was served last when: a policy is held by
somebody until it was last served plus its own max-age. That is more than any real set of clients
does, who replace what they noted when they come back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_pinkeep.adapters import lineage, revocation
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache, running
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
from certbot_pinkeep.storage import keyring_file, keys_and_csrs
from certbot_pinkeep.workflow import offline_backups, releases, requests
from simulated.keeper import Keeper

NAME = "www.pin.test"
EC = KeyKind("ecdsa", "secp256r1")
BEGIN = datetime(2030, 1, 1, tzinfo=timezone.utc)
#: The same files are read again and again: each content is parsed once.
_READ = lru_cache(maxsize=512)(keyring_file.read)
_STEPS = ("replace", "link", "unlink", "mkdir", "open")


class Killed(BaseException):
    """The process ends here; no handler may tidy up after it."""


class LockedOut(AssertionError):
    """A client that holds an unexpired policy meets a key outside it."""


@dataclass(frozen=True)
class Loaded:
    """What Apache serves until it is reloaded.

    :ivar pin: of the certificate's key
    """

    pin: str
    policy: Policy | None


class World:
    """One machine with one site, and everybody who ever visited it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config"
        self.work = folder / "work"
        self.saved = folder / "saved"
        for path in (self.work, *(self.config / part for part in ("live", "archive"))):
            path.mkdir(parents=True)
        self.time = BEGIN
        self.set_back = timedelta(0)
        self.set_back_at = BEGIN
        self.options = Options(NAME, configtest=("configtest",), reload=(("reload",),))
        self.reload_works = True
        self.by_hand = False
        self.kill_after: int | None = None
        self.kill_in_reload = False
        self.killer = Killer(None)
        self.answer = revocation.Answer(None)
        self.version = 0
        self.held: dict[Policy, datetime] = {}
        #: Whom a forced rollover was announced to lock out: by which key, until when; ``None``: or later.
        self.announced: dict[tuple[str, Policy], datetime | None] = {}
        #: What apps carry, by their labels; the private keys of backups that are kept elsewhere.
        self.apps: dict[str, Policy] = {}
        self.offline: dict[str, bytes] = {}
        self.compromised: set[str] = set()
        self.announcement: tuple[str, Ledger, datetime] | None = None
        #: Whether every switch of what is served is on record with its true time.
        self.on_time = True
        #: The key that came back with an old config dir, past pinkeep.
        self.foreign: str | None = None
        self.unrecorded = False
        self.make_key = numbered_keys()
        self._issue(self.make_key(EC))
        self.apache = Loaded(self.live_pin, None)

    # What there is

    @property
    def clock(self) -> datetime:
        """What the machine's clock says."""
        return self.time - self.set_back

    @property
    def keeper(self) -> Keeper:
        """A new one, as every run has."""
        return Keeper(str(self.config), str(self.work))

    @property
    def snippet(self) -> Path:
        """Where the snippet goes."""
        return self.config / "pinkeep" / "apache" / f"{NAME}.conf"

    @property
    def file(self) -> Path:
        """The keyring file."""
        return self.config / "pinkeep" / f"{NAME}.conf"

    @property
    def live(self) -> Live:
        """What is live."""
        live = self.config / "live" / NAME
        return lineage.look(
            NAME, str(live / "cert.pem"), str(live / "privkey.pem"), must_staple=False
        )

    @property
    def live_pin(self) -> str:
        """The pin of what is live."""
        return pins.pin_of_certificate((self.config / "live" / NAME / "cert.pem").read_bytes())

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
        with self._process():
            self._keep()

    def renew(self) -> None:
        """``certbot renew``, when the certificate is due."""
        self.announcement = None
        with self._process():
            before, safe = self.live_pin, self._safe_backups()
            handed = self._handover()
            if handed is None:
                return
            # A kill between its own links leaves certbot a broken lineage: that is not ours to prove.
            with self.killer.asleep():
                self._issue(handed.key_pem)
            self.answer = revocation.Answer(None)
            self._expect_victims(handed.pin)
            if safe and self.options.rollover_days == 0:
                assert handed.pin != before, "a rollover is due and safe, and is left out"
            self._keep()

    def _handover(self) -> KeyAndCsr | None:
        """What the renewal is issued for. Only a compromised key may lose a renewal (G3), and it is
        never handed over."""
        self._look_for_compromised()
        gone = self.compromised | ({self.live_pin} if self.answer.compromised else set())
        try:
            handed = self.keeper.handover(
                self.live, NAME, [NAME], self.clock, chosen=self.options, pinned_before=self.adopted
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
        if not self.on_time or self.apache.policy is None or self.offline:
            return set()
        found = set(self.apache.policy.pins) - {self.live_pin}
        for held, until in self.held.items():
            found -= set() if until <= self.time else found - set(held.pins)
        return found

    def ask(self, when_safe: bool, compromised: bool, force: bool) -> None:
        """``certbot-pinkeep rollover``."""
        with self._process():
            requests.ask(
                self.keeper,
                NAME,
                self.clock,
                when_safe=when_safe,
                compromised=compromised,
                force=force,
            )
        self._look_for_compromised()

    def revoke(self, compromised: bool) -> None:
        """``certbot revoke``."""
        with self._process():
            requests.note_revoked(self.keeper, self.live_pin, self.clock, compromised=compromised)
        self._look_for_compromised()

    def _look_for_compromised(self) -> None:
        """What is on record as compromised has to stay so."""
        for state in self.keeper.store.known(NAME):
            self.compromised |= {key.pin for key in state.keyring.keys if key.role == "compromised"}

    def release(self, days: int) -> None:
        """An app is built with the pins of today; people use it for so long."""
        label, until = str(len(self.apps)), self.time + timedelta(days=days)
        with self._process():
            carried = releases.add(
                self.keeper, releases.Wanted(NAME, "app", label, until, timedelta(0)), self.clock
            ).pins
            # As if it was a policy that nobody else has.
            app = Policy(carried, 10**9 + len(self.apps))
            self.apps[label] = app
            self.held[app] = until

    def withdraw(self, number: int) -> None:
        """Nobody uses an app any more, and the admin says so."""
        label = str(number % max(len(self.apps), 1))
        self.held.pop(self.apps.get(label, Policy(("A" * 43 + "=", "B" * 43 + "="), 0)), None)
        with self._process():
            releases.end(self.keeper, releases.Wanted(NAME, "app", label), self.clock)

    def extend(self, number: int, days: int) -> None:
        """An app is used for longer than was said."""
        label, until = str(number), self.time + timedelta(days=days)
        with self._process():
            known = releases.extend(
                self.keeper, releases.Wanted(NAME, "app", label, until), self.clock
            )
            self.held[self.apps[label]] = until
            # The command says which keys lock it out, and until when.
            for release in known:
                for pin in releases.refused(self.keeper, NAME, release):
                    self.announced[pin, self.apps[label]] = release.binds_until(self.clock)

    def add_offline(self) -> None:
        """The admin pins a key whose private half is elsewhere."""
        pem = self.make_key(EC)
        self.offline[pins.pin_of(load_private_key(pem).public_key())] = pem
        with self._process():
            csr = keys_and_csrs.make_csr(pem, [NAME], must_staple=False)
            offline_backups.add_public(self.keeper, NAME, csr, "offline.csr", self.clock)
            self._keep()

    def bring(self) -> None:
        """The admin brings the private keys of all backups that are elsewhere."""
        for pem in self.offline.values():
            with self._process():
                brought = offline_backups.Imported("offline.key", load_private_key(pem))
                offline_backups.add_private(self.keeper, NAME, brought, self.clock, new=True)

    def drop(self, number: int) -> None:
        """The admin drops a backup."""
        with self._process():
            policy = self.keeper.store.known(NAME)[0].ledger.current
            assert policy is not None
            offline_backups.drop(
                self.keeper, NAME, policy.pins[number % len(policy.pins)], self.clock
            )
            self._keep()

    def unpin(self, undo: bool) -> None:
        """``certbot-pinkeep unpin``."""
        with self._process():
            requests.unpin(self.keeper, NAME, self.clock, undo=undo)
            self._keep()

    def reload(self) -> None:
        """Somebody or something reloads Apache, and pinkeep is not told."""
        text = self.snippet.read_text() if self.snippet.exists() else ""
        self.apache = Loaded(self.live_pin, apache.read_policy(text))
        if self.live_pin != self.foreign:
            self.foreign = None
        self._visits()

    def confirm(self) -> None:
        """The admin reloads Apache and says so."""
        self.reload()
        with self._process():
            requests.confirm(self.keeper, NAME, self.clock)

    def confirm_clock(self) -> None:
        """The admin says that the clock is right."""
        with self._process():
            requests.confirm_clock(self.keeper, NAME, self.clock)

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
        carried = {app: self.held.pop(app) for app in self.apps.values() if app in self.held}
        self.run()
        for label, app in self.apps.items():
            if app in carried and {self.live_pin, self.apache.pin} <= set(app.pins):
                with self._process():
                    wanted = releases.Wanted(NAME, "app", label, carried[app], pins=app.pins)
                    releases.add(self.keeper, wanted, self.clock)
                    self.held[app] = carried[app]

    def long_held(self) -> bool:
        """Whether a client holds pins for longer than can be told without any record."""
        known = timedelta(seconds=max(self.options.max_age, DEFAULT_MAX_AGE))
        apps = self.apps.values()
        held = [until for policy, until in self.held.items() if policy not in apps]
        return any(until > self.time + known for until in held)

    # What must hold

    def check(self) -> None:
        """No client is locked out; what is served is sound.

        :raises LockedOut: when one is
        """
        pin, policy = self.apache.pin, self.apache.policy
        if policy is not None and policy.binding and not self._is_foreign:
            assert pin in policy.pins, "a header is served that lacks the served key"
            assert len(policy.pins) >= 2, "a header without a backup"
        for held, until in self.held.items():
            if pin not in held.pins and self.time < until and not self._is_announced(held, until):
                raise LockedOut(f"{pin} is served, {held} is held until {until}")

    @property
    def _is_foreign(self) -> bool:
        """Whether a key is served that came back with an old config dir, when no record was left
        that could have told."""
        return self.unrecorded and self.apache.pin == self.foreign

    def _is_announced(self, policy: Policy, until: datetime) -> bool:
        if self._is_foreign:
            return True
        key = (self.apache.pin, policy)
        announced = self.announced.get(key, self.time - timedelta(days=1))
        return announced is None or until <= announced

    # How it happens

    def _visits(self) -> None:
        policy = self.apache.policy
        if policy is not None and policy.binding:
            self.held[policy] = self.time + policy.binding
        self.check()
        self.held = {held: until for held, until in self.held.items() if until > self.time}

    def _keep(self) -> None:
        chosen = replace(self.options, reload=()) if self.by_hand else self.options
        pinned_before = self.version > 1 or self.snippet.exists()
        self.keeper.keep(self.live, chosen, self.clock, pinned_before=pinned_before)

    def _issue(self, key_pem: bytes) -> None:
        self.version += 1
        live, archive = (self.config / part / NAME for part in ("live", "archive"))
        contents = {"cert": certificate(key_pem, self.time), "privkey": key_pem}
        for kind, content in contents.items():
            live.mkdir(exist_ok=True)
            archive.mkdir(exist_ok=True)
            (archive / f"{kind}{self.version}.pem").write_bytes(content)
            link = live / f"{kind}.pem"
            with contextlib.suppress(FileNotFoundError):
                link.unlink()
            link.symlink_to(f"../../archive/{NAME}/{kind}{self.version}.pem")

    @contextlib.contextmanager
    def _process(self) -> Iterator[None]:
        """A process: it may refuse with an error, and be killed."""
        killer = self.killer = Killer(self.kill_after)
        if self.kill_after is not None or self.kill_in_reload or self.by_hand or self.set_back:
            self.on_time = False
        self.kill_after = None
        with contextlib.ExitStack() as patches:
            for step in _STEPS:
                patches.enter_context(mock.patch.object(os, step, killer.counted(step)))
            patches.enter_context(mock.patch.object(keyring_file, "read", _READ))
            patches.enter_context(mock.patch.object(keys_and_csrs, "make_key", self.make_key))
            patches.enter_context(mock.patch.object(os, "fsync", lambda descriptor: None))
            patches.enter_context(mock.patch.object(apache, "_run", partial(self._command, killer)))
            patches.enter_context(mock.patch.object(apache, "_which", lambda program: program))
            patches.enter_context(mock.patch.object(running, "ask", lambda words: (0, "")))
            patches.enter_context(mock.patch.object(revocation, "look", self._look))
            patches.enter_context(
                mock.patch.object(explain, "announcement", self._announced(explain.announcement))
            )
            patches.enter_context(mock.patch("time.monotonic", lambda: self.time.timestamp()))
            with contextlib.suppress(Killed, PinkeepError):
                yield
        self.kill_in_reload = False
        self.check()

    def _command(self, killer: Killer, words: tuple[str, ...]) -> str | None:
        self.passes(timedelta(seconds=7))  # all the while the old configuration is served
        if words[0] == "configtest":
            return None
        if not self.reload_works:
            self.on_time = False
            return "it is stuck"
        self.reload()
        if self.kill_in_reload:
            killer.dead = True
            raise Killed
        return None

    def _look(self, *_: object) -> revocation.Answer:
        return self.answer

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
        real = {held for held in self.held if pin not in held.pins}
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


class Killer:
    """Lets a number of steps that change the disk happen, then kills; after that all fail."""

    def __init__(self, steps: int | None) -> None:
        self.left = steps
        self.dead = False
        self.awake = True

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """Kill nobody meanwhile."""
        self.awake = False
        yield
        self.awake = True

    def counted(self, name: str) -> Callable[..., Any]:
        """The function of :mod:`os`, as a step."""
        function = getattr(os, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            if not self.awake or (name == "open" and not args[1] & os.O_CREAT):
                return function(*args, **kwargs)
            if self.dead or self.left == 0:
                self.dead = True
                raise Killed
            if self.left is not None:
                self.left -= 1
            return function(*args, **kwargs)

        return step


def numbered_keys() -> Callable[[KeyKind], bytes]:
    """What makes keys in PEM: the same ones in the same order in each world, so that a history can be
    told again."""
    numbers = count(1)

    def make(kind: KeyKind) -> bytes:
        return _key(next(numbers), kind.detail)

    return make


@lru_cache(maxsize=4096)
def _key(number: int, curve: str) -> bytes:
    curves: dict[str, ec.EllipticCurve] = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1()}
    return ec.derive_private_key(number, curves[curve]).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@lru_cache(maxsize=4096)
def issuer() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(key_pem: bytes, begin: datetime) -> bytes:
    """A certificate in PEM for a key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(load_private_key(key_pem).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin.replace(tzinfo=None))
        .not_valid_after((begin + timedelta(days=90)).replace(tzinfo=None))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(issuer(), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
