"""A kill at every step that changes the disk: the next run converges, and nothing is lost (G5)."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import renewal_conf
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core.errors import PublishFailed, Unpinned
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.workflow.publish import Report
from simulated.kill import Killed, Killer
from simulated.machine import Site
from simulated.values import DAY, NOW, make_pem


def run(site: Site, chosen: Options, now: datetime) -> Report:
    """A run as the plugin does it, with the installer remembered."""
    return site.keep(
        chosen, now, lambda: renewal_conf.remember(str(site.config), site.name, "pinkeep")
    )


def site_of(tmp_path: Path) -> Site:
    """A lineage whose config dir is all there is."""
    site = Site(tmp_path)
    site.copies = False
    (tmp_path / "elsewhere").mkdir()
    return site


def renewed(site: Site) -> Options:
    """A renewal for the same key."""
    site.issue(site.key)
    return site.options()


def rolled_over(site: Site) -> Options:
    """The first backup is live."""
    site.issue(site.key_pem(site.published().pins[1]))
    return site.options()


def lost(site: Site) -> Options:
    """The keyring file is gone."""
    site.file.unlink()
    return site.options()


#: By what the killed run is about, what comes before it and the options that it has.
CHANGES: dict[str, Callable[[Site], Options]] = {
    "adoption": lambda site: site.options(),
    "another max-age": lambda site: site.options(max_age=60),
    "another number of backups": lambda site: site.options(backup_keys=4),
    "another snippet folder, and another max-age with it": lambda site: site.options(
        snippet_dir=str(site.root / "elsewhere"), max_age=60
    ),
    "a renewal": renewed,
    "a rollover": rolled_over,
    "the keyring file is lost": lost,
}


def out(site: Site) -> list[Policy]:
    """Every policy that may be served now; none of its snippets is half-written."""
    places = (site.snippet, site.root / "elsewhere" / f"{site.name}.conf")
    texts = [place.read_text() for place in places if place.exists()]
    assert all(text.endswith("\n") for text in texts)
    return [policy for policy in map(apache.read_policy, texts) if policy is not None]


def sound(site: Site, ever: set[str]) -> None:
    """Assert what always holds. No pin that was ever published lacks its key. Each policy that is out is on
    record. Certbot's renewal file names pinkeep."""
    for policy in out(site):
        ever.update(policy.pins)
        assert not site.file.exists() or site.state().ledger.may_be_served(policy)
        assert "installer = pinkeep" in site.renewal.read_text()
    for pin in ever:
        site.key_pem(pin)


@pytest.mark.parametrize("change", CHANGES)
def test_g5_killed_anywhere_the_next_run_converges(tmp_path: Path, change: str) -> None:
    """No key is lost, nothing is half-written, the next run completes, and the one after it changes
    nothing."""
    site = site_of(tmp_path)
    if change != "adoption":
        run(site, site.options(), NOW)
    before = out(site)
    chosen = CHANGES[change](site)
    start = tmp_path / "start"
    shutil.copytree(site.config, start, symlinks=True)
    for steps in range(500):
        ever = {pin for policy in before for pin in policy.pins}
        shutil.rmtree(site.config)
        shutil.copytree(start, site.config, symlinks=True)
        (site.root / "elsewhere" / f"{site.name}.conf").unlink(missing_ok=True)
        killer = Killer(steps)
        with killer.at_work(), contextlib.suppress(Killed):
            run(site, chosen, NOW + DAY)
        sound(site, ever)
        report = run(site, chosen, NOW + 2 * DAY)
        sound(site, ever)
        state = site.state()
        policies = [entry.policy for entry in state.ledger.entries]
        assert not report.pending and out(site) == policies[-1:]
        assert change == "the keyring file is lost" or set(before) <= set(policies)
        assert site.published(Path(report.snippet)).pins[0] == site.look().pin
        assert state.keyring.members[0].loaded == site.look().fingerprint
        assert list(site.config.rglob(".pinkeep-*")) == []
        settled = site.tree()
        run(site, chosen, NOW + 3 * DAY)
        assert site.tree() == settled
        if not killer.dead:
            break
    assert 2 < steps < 499


def test_g6_kill_between_publishing_and_testing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run tests what the killed one left, and takes it back when the test fails."""
    site = site_of(tmp_path)
    run(site, site.options(), NOW)
    before = site.snippet.read_bytes()
    site.apache.break_config()

    def killed(words: object) -> str | None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(apache, "_run", killed)
        with pytest.raises(Killed):
            run(site, site.options(max_age=60), NOW + DAY)
    assert site.published().max_age == 60
    with pytest.raises(PublishFailed):
        run(site, site.options(max_age=60), NOW + DAY)
    assert site.snippet.read_bytes() == before and site.apache.reloads == 1


def test_g1_key_that_was_not_pinned_is_noticed(tmp_path: Path) -> None:
    """The counter-proof: what is above does not pass for whatever key."""
    site = site_of(tmp_path)
    run(site, site.options(), NOW)
    site.issue(make_pem())
    before = site.tree()
    with pytest.raises(Unpinned, match="--force-renewal --installer pinkeep"):
        run(site, site.options(), NOW + DAY)
    assert site.tree() == before
