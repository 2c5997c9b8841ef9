"""A kill at every step that changes the disk: the next run converges, and nothing is lost (G5)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.adapters import renewal_conf
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core.errors import PublishFailed
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.policy import Policy
from simulated.keeper import Keeper
from simulated.sites import DAY, NOW, Site, ec_key

STEPS = ("replace", "link", "unlink", "fsync", "mkdir", "open", "fchmod")


class Killed(BaseException):
    """The process ends here; no handler of ours may tidy up after it."""


class Killer:
    """Lets a number of steps happen, then kills; after that every step fails, as after a kill."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
        self.left = steps
        self.dead = False
        for step in STEPS:
            monkeypatch.setattr(os, step, self.counted(getattr(os, step)))

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which counts as a step."""

        def step(*args: Any, **kwargs: Any) -> Any:
            if function.__name__ == "open" and not args[1] & os.O_CREAT:
                return function(*args, **kwargs)
            if self.dead or self.left == 0:
                self.dead = True
                raise Killed
            self.left -= 1
            return function(*args, **kwargs)

        return step


def run(site: Site, max_age: int) -> None:
    """A run as the plugin does it, with the options remembered."""

    def remember() -> None:
        renewal_conf.remember(str(site.config), site.name, "pinkeep")

    from certbot_pinkeep.core import options

    values = {
        "configtest-command": site.configtest(),
        "reload-command": site.reload(),
        "max-age": str(max_age),
    }
    keeper = Keeper(str(site.config))
    keeper.keep(site.look(), options.parse(values, site.name), NOW + DAY, remember)


def check_sound(site: Site) -> None:
    """What must hold at every moment, also right after a kill."""
    published = policy_of(site)
    if published is None:
        return
    keeper = site.keeper
    for pin in published.pins:
        assert keeper.folders.find_key(pin) is not None, "a published pin has no key"
    state = keeper.store.load(site.name)
    assert state is not None
    assert state.ledger.may_be_served(published), "a published policy is not on record"
    assert "installer = pinkeep" in site.renewal.read_text(), "published, but not remembered"


def policy_of(site: Site) -> Policy | None:
    """What the snippet publishes."""
    text = apache.read_snippet(str(site.snippet))
    assert text is None or text.endswith("\n"), "half-written"
    return apache.read_policy(text) if text else None


def no_rubbish(site: Site) -> None:
    """No temporary file is left."""
    assert list(site.config.rglob(".pinkeep-*")) == []


def killed_everywhere(
    site: Site, tmp_path: Path, max_age: int, check: Callable[[Site], None]
) -> int:
    """Kill a run at every step, each time from the same beginning; return how many there are."""
    beginning = tmp_path / "beginning"
    shutil.copytree(site.config, beginning, symlinks=True)
    for steps in range(1000):
        shutil.rmtree(site.config)
        shutil.copytree(beginning, site.config, symlinks=True)
        with pytest.MonkeyPatch.context() as patch:
            killer = Killer(patch, steps)
            with contextlib.suppress(Killed):
                run(site, max_age)
        check_sound(site)
        run(site, max_age)
        check_sound(site)
        no_rubbish(site)
        check(site)
        if not killer.dead:
            return steps
    raise AssertionError("the run never came to its end")


def ledger_of(site: Site) -> Ledger:
    """The ledger as it is on the disk."""
    state = site.keeper.store.load(site.name)
    assert state is not None
    return state.ledger


def test_g5_killed_during_adoption(tmp_path: Path) -> None:
    """A first run that is killed anywhere is completed by the next one."""
    site = Site(tmp_path)
    pin = site.look().pin

    def check(site: Site) -> None:
        policy = policy_of(site)
        assert policy is not None
        assert policy.pins[0] == pin
        assert len(policy.pins) == 3
        assert not ledger_of(site).pending

    assert killed_everywhere(site, tmp_path, 5184000, check) > 20


def test_g5_killed_while_the_policy_changes(tmp_path: Path) -> None:
    """A change of max-age that is killed anywhere keeps both policies on record."""
    site = Site(tmp_path)
    run(site, 5184000)
    before = policy_of(site)
    assert before is not None

    def check(site: Site) -> None:
        policy = policy_of(site)
        assert policy is not None
        assert (policy.pins, policy.max_age) == (before.pins, 60)
        assert [entry.policy.max_age for entry in ledger_of(site).entries] == [5184000, 60]

    assert killed_everywhere(site, tmp_path, 60, check) > 5


def test_g5_killed_after_a_renewal(tmp_path: Path) -> None:
    """A run after a renewal that is killed anywhere still has the new certificate loaded."""
    site = Site(tmp_path)
    run(site, 60)
    site.issue()

    def check(site: Site) -> None:
        state = site.keeper.store.load(site.name)
        assert state is not None
        assert state.keyring.members[0].loaded == site.look().fingerprint

    assert killed_everywhere(site, tmp_path, 60, check) > 0


def test_g5_a_kill_after_publishing_does_not_skip_the_configtest(tmp_path: Path) -> None:
    """G6 holds across a kill: a snippet whose test was left undone is tested by the next run, and
    taken back to the policy that Apache has loaded when it fails."""
    site = Site(tmp_path)
    run(site, 60)
    good = site.snippet.read_text()
    site.bad_word.write_text("max-age=61")
    published = apache._put
    with pytest.MonkeyPatch.context() as patch:

        def put_and_die(texts: dict[str, bytes | None]) -> None:
            published(texts)
            raise Killed

        patch.setattr(apache, "_put", put_and_die)
        with pytest.raises(Killed):
            run(site, 61)
    assert "max-age=61" in site.snippet.read_text()
    reloads = site.reload_count()
    with pytest.raises(PublishFailed):
        run(site, 61)
    assert site.snippet.read_text() == good
    assert site.reload_count() == reloads


def test_g1_the_counter_case_another_key_is_noticed(tmp_path: Path) -> None:
    """The checks above mean something: a key that was not pinned is not adopted quietly."""
    from certbot_pinkeep.core.errors import Unpinned

    site = Site(tmp_path)
    run(site, 60)
    site.issue(ec_key())
    before = site.tree()
    with pytest.raises(Unpinned, match="--force-renewal --installer pinkeep"):
        run(site, 60)
    assert site.tree() == before
