"""What a command of certbot tells the admin: of lineages that were enrolled, of keyrings that were
published, of options that cannot be used."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from certbot.display import util as display_util

from certbot_pinkeep.adapters import certbot_config, renewal_conf
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.carriers import servers
from certbot_pinkeep.core import explain, explain_hosts, options
from certbot_pinkeep.core.errors import BadOption, NoKeyringName, PinkeepError
from certbot_pinkeep.workflow.publish import Enrolled, Report


def how_to_mend(config: Any, name: str, error: BadOption, renewal: Renewal | None) -> str:
    """Return where an option comes from that cannot be used, and what to do."""
    option = error.option.removeprefix("--")
    given = certbot_config.source(config, options.destination(option.removeprefix("pinkeep-")))
    told, mend = "", explain.given_anew(name, error)
    if given == certbot_config.COMMAND_LINE:
        told = " It was given on the command line."
    elif given == certbot_config.CLI_INI:
        told, mend = f" It stands in cli.ini, as {option!r}. Mend it there.", "certbot renew"
    elif given:
        told = f" It was given on the command line, or stands in cli.ini as {option!r}."
    elif renewal is not None and option.removeprefix("pinkeep-") in renewal.options:
        path = renewal_conf.path_of(config.config_dir, name)
        told = f" It was given at an earlier run, and certbot stored it. pinkeep has taken it out of {path}."
    elif not isinstance(error, NoKeyringName):
        told = " It was given at an earlier run, and counts for the keyring since."
    return f"{told}\nRun: {mend}"


def tell_enrolled(enrolled: Enrolled) -> None:
    """Tell of a lineage that was enrolled."""
    for sentence in enrolled.told:
        display_util.notify(sentence)
    name, keyring = enrolled.live.name, enrolled.chosen.keyring
    if enrolled.moved_from:
        display_util.notify(
            f"{name} draws on the keyring {keyring} from now on. {name} keeps its present key until the "
            f"move is confirmed, and nobody holds pins of {enrolled.moved_from} any more. If the server's "
            f"configuration names the snippet of {enrolled.moved_from}, have it name that of {keyring}, and "
            f"reload the server. Then confirm the move.\nRun: certbot-pinkeep confirm {keyring}"
        )
    elif enrolled.joined and not enrolled.adopted:
        display_util.notify(f"{name} joined the keyring {keyring}.")


def tell_reports(reports: list[Report]) -> None:
    """Tell of keyrings that were published."""
    for report in reports:
        _tell(report)
    for sentence in _of_stopped(reports):
        display_util.notify(sentence)


def _tell(report: Report) -> None:
    for name in report.dropped:
        display_util.notify(f"{name} was deleted, and has left the keyring {report.keyring}.")
    for name, renewed in report.neighbours.items():
        then = (
            "Its next renewal draws on the keyring. A certbot without the plugin may give it a key that "
            f"clients refuse.\nRun: certbot-pinkeep pin {shlex.quote(name)}"
            if renewed
            else "It has no renewal file, so certbot does not renew it. If you replace it, keep its key."
        )
        display_util.notify(
            f"{name} is a certificate for a host of the keyring {report.keyring} as well. Its key is pinned, "
            f"too. {then}"
        )
    if report.rolled_over:
        display_util.notify(
            f"Rolled the keyring {report.keyring} over to the key with the pin {report.rolled_over}."
        )
    if report.adopted or report.published:
        where = f"in {report.snippet}" if report.snippet else "no server sends a header"
        display_util.notify(f"{_published(report)}{' ' if report.snippet else ', '}{where}")
    title, kind = report.server.title, servers.KINDS.get(report.server.kind)
    if report.published and report.pending and not report.server.reload and kind:
        display_util.notify(
            f"{title} was not reloaded, because there is no --pinkeep-reload-command. {kind.include}, and "
            f"reload {title}. Then confirm that.\nRun: certbot-pinkeep confirm {report.keyring}"
        )


def _of_stopped(reports: list[Report]) -> Iterator[str]:
    """Yield what there is to say of servers that do not run, once each."""
    told: dict[str, list[Report]] = {}
    for report in reports:
        if report.stopped and (report.published or report.issued):
            told.setdefault(report.server.title, []).append(report)
    for title, those in told.items():
        yield (
            f"{title} does not run, so pinkeep did not reload it. {title} loads the pins and the "
            "certificates when it starts; the next 'certbot renew' after that notes it."
        )
        names = [enrolled.live.name for report in those for enrolled in report.enrolled]
        for beside in servers.running_beside(those[0].server.kind) if names else ():
            yield explain_hosts.beside(beside.title, beside.name, names)


def _published(report: Report) -> str:
    if report.unpinned:
        return f"Nobody holds pins of the keyring {report.keyring} any more: no header is left"
    what = "Pinned" if report.adopted else "Changed the pins of"
    return f"{what} the keyring {report.keyring}: {len(report.pins)} pins"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Tell of a file that cannot be read or written as of any other error."""
    try:
        yield
    except OSError as error:
        raise PinkeepError(
            f"{error.filename or 'A file'} cannot be read or written: {error.strerror or error}. Mend "
            "that, and run the same command again."
        ) from error
