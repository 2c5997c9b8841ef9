"""A world to prove G2 and G13 in for zones: a lagging zone, an admin, and pinkeep's rules.

The rules:

* An admin enters records at a port and on a name server that pinkeep looks at. They stay until a look. The
  admin locks nobody out alone: what they enter without pinkeep accepts the keys that are served, and the live
  ones. What pinkeep told them to enter is its own doing.
* pinkeep's part is that of its rules: a run looks, saves what it saw, saves what it is about to write,
  writes, looks again and saves. Before a renewal it looks afresh. It may be killed at every step.
* It has no files and no processes, as ``simulated.world`` has: what is proved are the rules of ``core``, in
  many histories. ``simulated.zone`` has the workflow on a config dir, beside fewer name servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from lagging_zone import (
    BEGIN,
    FOREIGN,
    HOST,
    KINDS,
    NOTHING,
    STEP,
    TTL,
    LaggingZone,
    Scene,
    Shown,
    accepts,
    pin_of,
)

from certbot_pinkeep.core import membership, rollover, staging, zone
from certbot_pinkeep.core.holdings import SETTLING
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.rollover import Certificate
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.tlsa import Port, record_of
from certbot_pinkeep.core.zone_observations import (
    Answer,
    OwnerObservation,
    PortObservation,
    Records,
)
from simulated.kill import Killed


class LeftOut(AssertionError):
    """A rollover is due and safe, and does not come."""


class ZoneWorld(LaggingZone):
    """One zone, one mail server, and everybody who ever sends mail to it."""

    #: Whether what is written is recorded before, and whether a renewal looks afresh.
    records_first = True
    looks_afresh = True

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.set_back = 0.0
        self.set_back_at = BEGIN
        self.latest = BEGIN
        self.listed = self.ports
        self.leaves = False
        self.live: dict[KeyType, str] = {}
        self.numbers = 0
        #: What the last change by hand was made on, that no look has seen yet.
        self.unseen: set[Port] = set()
        self._seen: set[Port] = set()
        self.updates = "done"
        self.kill_after: int | None = None
        self.told: dict[Port, Records] = {}
        self.rolled_over = 0
        self.refused = 0
        for key_type in scene.types:
            self.live[key_type] = self._key(key_type).pin
        self.stuck: set[tuple[Port, int]] = set()
        self.away: set[tuple[Port, int]] = set()
        for n, port in enumerate(self.ports):
            for address in range(scene.addresses):
                keys = (FOREIGN,) if n in scene.foreign_ports else tuple(self.live.values())
                self.served[port, address] = keys
        self.state = self._adopted()
        self._ask_all()

    # What there is

    @property
    def now(self) -> datetime:
        """What the machine's clock says."""
        return BEGIN + timedelta(seconds=self.time - self.set_back)

    @property
    def ttl(self) -> timedelta:
        """The TTL that is taken for that of what was not seen."""
        return timedelta(seconds=self.scene.ttl)

    def passes(self, hours: float) -> None:
        """Time passes. The clock is set right before it comes to the time at which it was set back."""
        super().passes(hours)
        if self.set_back > 0 and self.now >= self.set_back_at:
            self.set_back = 0.0

    # The zone's admin

    def by_hand(self, port: int, records: Records, ttl: int = TTL) -> None:
        """Enter records without pinkeep."""
        where = self.ports[port % len(self.ports)]
        keys = {pin for (one, _), pins in self.served.items() if one == where for pin in pins}
        harmless = all(accepts(records, pin) for pin in {*keys, *self.live.values()})
        if harmless and where not in self.unseen and records != self.zone[where].records | NOTHING:
            self._enter(where, Shown(records, ttl))

    def change_ttl(self, port: int, ttl: int) -> None:
        """Give records another TTL by hand."""
        where = self.ports[port % len(self.ports)]
        if where not in self.unseen:
            self._enter(where, replace(self.zone[where], ttl=ttl))

    def _enter(self, port: Port, shown: Shown) -> None:
        if port in self._looked_at(self.state):
            self.unseen.add(port)
            self._publish(port, shown)
            if not self.scene.primary_is_asked and len(self.servers) > 1:
                self.transfer(1, 0)

    def enter_told(self) -> None:
        """Enter what pinkeep told last."""
        for port, records in self.told.items():
            keys = {pin for (one, _), pins in self.served.items() if one == port for pin in pins}
            if port in self.unseen or records == self.zone[port].records:
                continue
            if FOREIGN not in keys or accepts(records, FOREIGN):
                self._enter(port, Shown(records, self.scene.ttl))

    # Ports

    def reload(self, port: int, address: int) -> None:
        """A port loads the live certificates at one address; none that serves a foreign key does so
        while somebody would refuse them."""
        where = self.ports[port % len(self.ports)], address % self.scene.addresses
        keys = tuple(self.live.values())
        if FOREIGN not in self.served[where] or self._all_accept(where[0], keys):
            self.served[where] = keys
        self.check()

    def loses_reloads(self, port: int, address: int, stuck: bool) -> None:
        """The reload command does not reach a port at one address any more, or does again."""
        where = self.ports[port % len(self.ports)], address % self.scene.addresses
        (self.stuck.add if stuck else self.stuck.discard)(where)

    def reach_port(self, port: int, address: int, reachable: bool) -> None:
        """A port takes pinkeep's connections, or does not."""
        where = self.ports[port % len(self.ports)], address % self.scene.addresses
        (self.away.discard if reachable else self.away.add)(where)

    def serve_foreign(self, port: int, address: int) -> None:
        """The admin gives a port a certificate past certbot, which all who hold records accept."""
        where = self.ports[port % len(self.ports)], address % self.scene.addresses
        if self._all_accept(where[0], [FOREIGN]):
            self.served[where] = (FOREIGN,)
        self.check()

    # The clock

    def clock_goes_back(self, days: float) -> None:
        """The clock is set back to before a time that pinkeep saw, and set right before that comes again."""
        if self.set_back:
            return
        self.run()
        self.set_back_at = self.now
        self.set_back += days * 86400

    def clock_is_right(self) -> None:
        """The clock is right again."""
        self.set_back = 0.0

    def accept_clock(self) -> None:
        """The admin says that the clock is right; it is."""
        if not self.set_back:
            self.latest = self.now
            self._save(replace(self.state, ledger=self.state.ledger.accept_clock(self.now)))

    def runs_ahead(self, days: float) -> None:
        """A run happens while the clock is ahead, which nobody takes for a renewal."""
        if not self.set_back:
            self.set_back = -days * 86400
            self.run()
            self.set_back = 0.0

    # The machine's admin

    def list_ports(self, first: int, many: int) -> None:
        """Choose other ports."""
        if not self.unseen:
            self.listed = self.ports[first % len(self.ports) :][:many]

    def leave(self, leaves: bool) -> None:
        """Leave pinning, or do not after all."""
        self.leaves = leaves

    def ask(self) -> None:
        """Ask for a rollover."""
        keyring = self.state.keyring.mark_for_retirement()
        self._save(replace(self.state, keyring=keyring))

    def revoke(self, key_type: int, compromised: bool) -> None:
        """A live certificate is revoked."""
        pins = tuple(self.live.values())
        pin = pins[key_type % len(pins)]
        self._save(self.state.with_revoked(pin, compromised=compromised))

    def drop_backup(self) -> None:
        """The admin drops the next backup; another one takes its place."""
        keyring = self.state.keyring
        for key in [key for key_type in self.live for key in keyring.backups(key_type)[:1]]:
            keyring = staging.without_backup(keyring, key.pin)
        self._save(self._kept(replace(self.state, keyring=keyring)))

    def lose_file(self) -> None:
        """The keyring file is lost with all copies. Nobody then holds records of a port that is not on the
        list, or for longer than usual."""
        known = self.time + 2 * self.scene.ttl + SETTLING.total_seconds()
        told = all(until < known and port in self.listed for (port, _), until in self.held.items())
        if told and not self.unseen:
            self.state = self._adopted()
            self.told = {}

    # pinkeep

    def run(self) -> bool:
        """One run.

        :returns: whether it came to its end
        """
        self._seen = set()
        try:
            self._run(self._loaded())
        except Killed:
            return False
        finally:
            self.kill_after = None
        return True

    def renew_early(self, key_type: int) -> None:
        """One certificate is renewed as soon as pinkeep rolls it over, by what it knows now."""
        types = tuple(self.live)
        decision = rollover.decide(
            self.state.keyring, self.state.ledger, self.now, types[key_type % len(types)]
        )
        since = decision.safety.since
        if since is not None and self.now < since < self.now + timedelta(days=60):
            self.passes((since - self.now).total_seconds() / 3600)
        self.renew(key_type)

    def renew(self, key_type: int, reloads: bool = True) -> None:
        """One certificate is renewed, after a fresh look; then the run goes on."""
        types = tuple(self.live)
        try:
            self._renew(types[key_type % len(types)], reloads)
        except Killed:
            pass
        finally:
            self.kill_after = None

    def _renew(self, key_type: KeyType, reloads: bool) -> None:
        self._seen = set()
        state = self._loaded()
        if self.looks_afresh or self._is_due(state):
            state, _ = self._look(state)
            self._save(state)
        certificate = Certificate((HOST,), self.live[key_type])
        decision = rollover.decide(
            state.keyring, state.ledger, self.now, key_type, certificate=certificate
        )
        self.refused += decision.held
        if decision.key is None:
            return
        self.rolled_over += decision.key.pin != self.live[key_type]
        self.live[key_type] = decision.key.pin
        state = self._kept(state)
        self._save(state)
        if reloads:
            for port, address in self.served:
                if (port, address) not in self.stuck:
                    self.reload(self.ports.index(port), address)
        self._run(state)

    def _is_due(self, state: State) -> bool:
        keyring = state.keyring
        known = frozenset(key.pin for key in keyring.keys)
        return zone.is_due(
            *(keyring.published_pins(), known, state.services, self._looked_at(state)),
            ledger=state.ledger,
            now=self.now,
        )

    def _loaded(self) -> State:
        """What is on record, told of the latest time that a run noted, if the clock was set back."""
        self.latest = max(self.latest, self.now)
        state = self._kept(self.state)
        if self.latest <= self.now:
            return state
        return replace(state, ledger=state.ledger.with_latest_known(self.latest))

    def _run(self, state: State) -> None:
        state, looks = self._look(state)
        self._save(state)
        at = self.now
        want = zone.wanted(state.keyring, state.services, self.listed, at, leaves=self.leaves)
        services = {one.port: one for one in state.services}
        after: dict[Port, Records] = {}
        read = dict(self.zone)
        for look in looks:
            shown = [records for records, _ in look.sets]
            before = read[look.port].records
            if not self.scene.writes:
                if not shown:
                    continue
                # What is missing elsewhere is on its way.
                before = max(shown, key=len)
            if zone.unseen([look], {look.name: before}):
                continue
            wanted, _ = zone.records_after(before, want, services.get(look.port))
            if wanted != before:
                after[look.port] = wanted
        if not self.scene.writes:
            self.told = after
        if not after or not self.scene.writes:
            return
        ledger = state.ledger
        for port, records in after.items():
            ledger = zone.with_written(ledger, port, records, self.ttl, self.now)
        if self.records_first:
            state = replace(state, ledger=ledger)
            self._save(state)
        self._write(after, read)
        if not self.records_first:
            self._save(replace(state, ledger=ledger))
        state, _ = self._look(self.state)
        self._save(replace(state, ledger=state.ledger.prune(self.now)))

    def _write(self, after: dict[Port, Records], read: dict[Port, Shown]) -> None:
        """Update the primary. It may refuse, and its answer may be lost."""
        self.passes(STEP / 3600)
        self._step()
        if self.updates == "refused":
            return
        for port, records in after.items():
            if self.zone[port].records == read[port].records:
                self._publish(port, Shown(records, self.scene.ttl))
        self.passes(STEP / 3600)
        self._step()

    def _looked_at(self, state: State) -> tuple[Port, ...]:
        return zone.looked_at(self.listed, state.ledger)

    def _look(self, state: State) -> tuple[State, list[OwnerObservation]]:
        """Look at the zone and the ports, and note what was seen."""
        self.passes(STEP / 3600)
        began = self.now
        ledger = zone.with_new_ports(
            state.ledger, state.services, self.listed, ttl=self.ttl, at=began
        )
        looks = [self._look_at(port) for port in zone.looked_at(self.listed, ledger)]
        ports = [self._look_at_port(port, n) for port, n in self.served if port in self.listed]
        self.passes(STEP / 3600)
        at = self.now
        for look in looks:
            ledger = zone.with_looked(ledger, look, self.ttl, at)
        services = zone.served(state.services, self.listed, ports, at)
        seen = {one.port for one in looks if self.servers[0].reachable}
        self._seen = seen if self.scene.primary_is_asked or self.scene.writes else set()
        return replace(state, ledger=ledger, services=services), looks

    def _look_at(self, port: Port) -> OwnerObservation:
        servers, answers = [], []
        for one in self.asked:
            if not one.reachable:
                servers.append(replace(one.name, error="it does not answer"))
                continue
            servers.append(one.name)
            found: dict[Records, int] = {}
            for version in one.processes:
                shown = self.versions[version][port]
                found[shown.records] = max(shown.ttl, found.get(shown.records, 0))
            answers += [Answer(one.name, records, ttl) for records, ttl in found.items()]
        return OwnerObservation(
            port, port.owner, "pin.test.", tuple(servers), tuple(answers), resolver=None
        )

    def _look_at_port(self, port: Port, address: int) -> PortObservation:
        text = f"192.0.2.{100 + address}"
        if (port, address) in self.away:
            return PortObservation(port, text, (), "it takes no connection")
        return PortObservation(port, text, self.served[port, address])

    def _save(self, state: State) -> None:
        self._step()
        self.state = state
        self.unseen -= self._seen
        self._seen = set()
        self._step()

    def _step(self) -> None:
        if self.kill_after is not None:
            if self.kill_after == 0:
                raise Killed
            self.kill_after -= 1

    # The keyring

    def _key(self, key_type: KeyType) -> Key:
        self.numbers += 1
        pin = pin_of(f"key {self.numbers}")
        return Key(pin, KINDS[key_type], "backup", f"keys/{self.numbers}.pem", self.now)

    def _adopted(self) -> State:
        keys = tuple(
            Key(pin, KINDS[key_type], "primary", "keys/live.pem", self.now)
            for key_type, pin in self.live.items()
        )
        keyring = Keyring("ring", (), keys, self.scene.rollover_days)
        return self._kept(State(keyring, Ledger()))

    def _kept(self, state: State) -> State:
        """The keyring with the live certificates and its backups brought up to date."""
        keyring = state.keyring
        for key_type, pin in self.live.items():
            keyring = membership.with_member(keyring, Member(f"mail-{key_type}", (HOST,), pin))
        keyring = staging.with_backup_count(keyring, self.scene.backups)
        for kind, many in staging.missing_backups(keyring, self.scene.backups).items():
            keyring = keyring.with_keys(self._key(kind.key_type) for _ in range(many))
        served = {member.pin: self.now for member in keyring.members}
        return replace(state, keyring=keyring.served_since(served, self.now))

    # In the end

    def heal(self) -> None:
        """All that was wrong is mended: everything is reached and loaded, and the admin does as told."""
        self.set_back = 0.0
        self.updates, self.kill_after, self.leaves = "done", None, False
        self.away.clear()
        self.stuck.clear()
        self.listed = self.ports
        for server in self.servers:
            server.reachable, server.stuck = True, False
        self.accept_clock()
        for _ in range(3):
            self._catch_up()
            self.run()
            self.enter_told()
            for port, address in self.served:
                self.reload(self.ports.index(port), address)
        self._catch_up()
        self.run()

    def _catch_up(self) -> None:
        for server in self.servers:
            server.processes[:] = [len(self.versions) - 1] * len(server.processes)
        self._ask_all()

    def must_roll_over(self) -> None:
        """Once all is mended, a rollover comes as soon as it can.

        :raises LeftOut: if it does not
        """
        self.heal()
        self.passes(24 * 9)
        self.run()
        before = self.rolled_over
        self.ask()
        self.renew(0)
        if self.rolled_over == before and not self._blocked():
            raise LeftOut(f"no rollover: {self._verdict()}")

    def _blocked(self) -> bool:
        """Whether the zone has records that lack the keyring's keys: of others, at ports that serve
        others' keys."""
        key_type = next(iter(self.live))
        backups = self.state.keyring.backups(key_type)
        return any(
            any(one.binds for one in shown.records)
            and not any(record_of(key.pin) in shown.records for key in backups)
            for shown in self.zone.values()
        )

    def _verdict(self) -> Sequence[str]:
        decisions = rollover.decide_all(self.state.keyring, self.state.ledger, self.now)
        return [f"{one.due} {one.safety}" for one in decisions.values()]
