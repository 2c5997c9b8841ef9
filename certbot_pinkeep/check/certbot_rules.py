"""Which certbot a timer or a job of cron runs, and whether that certbot can renew.

The rules:

* A certbot without the plugin renews and keeps the key (``reuse_key``), but brings no pins up to date. With
  ``certonly`` or ``run`` it makes a new key.
* If ``cli.ini`` has an option of pinkeep, a certbot without the plugin ends at once, and renews nothing. Such
  a certbot passes over an installer that it does not have.
* A certbot that nothing starts by itself is the admin's own affair: ``setup`` tells of it, once.
* Nobody is told to run a pip that another user can change. That user can run it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator, Sequence
from shlex import quote

from certbot_pinkeep.adapters.certbots import Caller
from certbot_pinkeep.check.findings import Finding, critical, warning
from certbot_pinkeep.storage import trust

_DEBIAN = "/usr/bin/certbot"  # of which /usr/bin/letsencrypt is an older name
_PACKAGE = "./python3-certbot-pinkeep_*_all.deb"


def check(callers: Iterable[Caller], cli_ini: str, lines: Sequence[str]) -> Iterator[Finding]:
    """Tell of each timer and job whose certbot does not load the plugin.

    :param cli_ini: the file
    :param lines: its lines that only a certbot with the plugin takes
    """
    found = [one for one in callers if one.where != one.program]
    for caller in found:
        if not caller.loads:
            others = any(one.loads for one in found)
            yield (
                _ended(caller, cli_ini, lines) if lines else _without_plugin(caller, others=others)
            )


def by_hand(callers: Sequence[Caller]) -> Iterator[Finding]:
    """Tell of a certbot that people run, and no timer or job, if it does not load the plugin."""
    run = {one.program for one in callers if one.where != one.program}
    for caller in callers:
        if not caller.loads and caller.program not in run:
            yield warning(
                caller.where,
                "It does not load the plugin of pinkeep. If you run it, only 'renew' keeps pinned keys.",
                _install(caller),
            )


def _ended(caller: Caller, cli_ini: str, lines: Sequence[str]) -> Finding:
    return critical(
        caller.timer or caller.where,
        f"{_runs(caller)} That certbot renews no certificate at all, because {cli_ini} has the line "
        f"'{lines[0].strip()}'. The keyrings keep the options that were given there.",
        f"Run: sed -i 's/^[ \\t]*pinkeep-/# &/' {quote(cli_ini)}",
    )


def _without_plugin(caller: Caller, *, others: bool) -> Finding:
    todo = _install(caller)
    if caller.is_snap and caller.timer and others:
        todo = "Run: snap stop --disable certbot.renew"  # snap enables its timers anew
    elif caller.timer and others:
        todo = f"Run: systemctl disable --now {quote(caller.timer)}"
    does = "That certbot renews with the same key, but brings no pins up to date."
    if not caller.keeps_key:
        does = (
            "That certbot makes new keys. Clients that hold pins of a host refuse a new key there."
        )
    where = caller.timer or caller.where
    return warning(where, f"{_runs(caller)} {does}", todo)


def _install(caller: Caller) -> str:
    if caller.is_snap:
        return (
            "A certbot of snap cannot load it. Install the package that './dev deb' builds: it brings "
            f"Debian's certbot. Run: apt install {_PACKAGE} && snap remove certbot"
        )
    if os.path.realpath(caller.program) == os.path.realpath(_DEBIAN):
        return f"Install the package that './dev deb' builds. Run: apt install {_PACKAGE}"
    pip = os.path.join(os.path.dirname(caller.program), "pip")
    owner = _other_owner(pip)
    who = f"As the user {owner}, in" if owner else "In"
    return f"{who} the folder of pinkeep's source, run: {quote(pip)} install ."


def _other_owner(pip: str) -> str:
    """Name the user who can change a pip, if that is neither root nor the user who runs this."""
    found = trust.exposed(pip)
    if found is None or found.owner in (0, os.geteuid()):
        return ""
    try:
        return pwd.getpwuid(found.owner).pw_name
    except KeyError:
        return str(found.owner)


def _runs(caller: Caller) -> str:
    return f"It runs {caller.program}, which does not load the plugin of pinkeep."
