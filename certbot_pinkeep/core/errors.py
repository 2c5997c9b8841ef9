"""What can go wrong, as data: what happened, why, and which command helps.

The rules:

* ``what`` says what happened, and names the option, the value, the file, the keyring or the pin.
* ``why`` says why, and what the admin has to decide. ``run`` is a command that the admin can run as it is.
* ``str()`` makes the text, for the command and for the plugin: what happened, why, and the command on a
  line of its own, after ``Run:``. No error says that nothing was changed: ``cli.output`` knows that.
* No error contains key material (G7).
* Every text can be printed, and is short, whatever text from outside it contains.
"""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING

from certbot_pinkeep.core import text

if TYPE_CHECKING:
    from certbot_pinkeep.core.kinds import KeyKind

_GOES_ON = "Renewals keep the current key, but pinkeep publishes nothing and rolls no key over."
_RESTORE = (
    f"{_GOES_ON} Restore the file from a backup. If you have no backup, move the file away: the command "
    "below adopts the live keys anew. After that, record every release again, listing its pins with --pin, "
    "and add your own backups again."
)


class PinkeepError(Exception):
    """Base of all errors of certbot-pinkeep.

    :ivar what: what happened, as sentences
    :ivar why: why, as sentences; may be empty
    :ivar run: the command that helps; empty: there is none
    """

    def __init__(self, what: str, why: str = "", *, run: str = "") -> None:
        super().__init__(what, why, run)
        self.what = what
        self.why = why
        self.run = run

    def __str__(self) -> str:
        return text.printable(self.message)

    @property
    def message(self) -> str:
        """All of it, as it was given."""
        return text.joined(self.what, self.why, text.command(self.run))


class BadOption(PinkeepError):
    """An option has a value that cannot be used (G10).

    :ivar option: the option as the admin types it, e.g. ``--pinkeep-max-age``
    :ivar value: the value that was given
    :ivar why: what is wrong with it, and what to give
    """

    def __init__(self, option: str, value: object, why: str, *, run: str = "") -> None:
        super().__init__(f"{option} {str(value)!r}:", why, run=run)
        self.option = option
        self.value = value

    def __str__(self) -> str:
        return text.escaped(self.message)  # whole: the admin typed it


class NoKeyringName(BadOption):
    """A certificate's own name cannot name its keyring, and no other name was given (G10).

    :ivar better: a name that can
    """

    def __init__(self, lineage: str, why: str, better: str) -> None:
        super().__init__("--pinkeep-keyring", lineage, why)
        self.better = better
        self.what = f"The name of the certificate, {lineage!r}, cannot name its keyring:"
        self.why = f"{why} Give the keyring another name, with --pinkeep-keyring {better}."


class BadPolicy(PinkeepError):
    """A header that must not be published (G4, RFC 7469 §2.5, §4.3)."""


class BadHeader(PinkeepError):
    """A header text that RFC 7469 §2.1 does not allow."""


class DamagedState(PinkeepError):
    """A keyring file that cannot be trusted (G8).

    :ivar path: the file
    :param told: what is wrong with it, as the end of a sentence
    :param run: ``None``: the command that adopts the live keys anew
    """

    def __init__(
        self, path: str, told: str, why: str = _RESTORE, *, run: str | None = None
    ) -> None:
        anew = f"certbot-pinkeep pin {posixpath.basename(path).removesuffix('.conf')}"
        super().__init__(f"The keyring file {path} {told}.", why, run=anew if run is None else run)
        self.path = path


class NewerState(DamagedState):
    """A keyring file of a later format than this pinkeep reads.

    :param version: the format of the file
    :param known: the latest format that is read
    """

    def __init__(self, path: str, version: int, known: int) -> None:
        super().__init__(
            path,
            f"has the format {version}: a newer certbot-pinkeep wrote it",
            f"This certbot-pinkeep reads formats up to {known}. {_GOES_ON} Install the newer "
            "certbot-pinkeep again.",
            run="",
        )


class UnreadableState(DamagedState):
    """A keyring file that cannot be read at all; whether it can be trusted is not known."""

    def __init__(self, path: str, error: OSError) -> None:
        why = f"Check the disk. {_GOES_ON}"
        if isinstance(error, PermissionError):
            why = "Run this as the user who runs certbot, usually root."
        super().__init__(path, f"cannot be read: {error.strerror or error}", why, run="")


class UntrustedState(DamagedState):
    """A keyring file that other users can change.

    :param mend: the command that keeps other users from changing it
    """

    def __init__(self, path: str, why: str, mend: str) -> None:
        mended = f"{_GOES_ON} See that nobody changed what is there."
        super().__init__(path, f"cannot be trusted: {why}", mended, run=mend)


class BadFolder(PinkeepError):
    """A folder that is missing, not ours, or open to others (G7, G10)."""


class BadKey(PinkeepError):
    """A private key or CSR that cannot be used."""


class Unpinned(PinkeepError):
    """The live key is in none of the pins that clients were given.

    :ivar lineage: the certificate that serves it
    :ivar pin: the pin of the live key
    :param until: for how long clients hold the pins, as a part of a sentence
    :param mend: what to do, as sentences
    """

    def __init__(self, lineage: str, pin: str, keyring: str, until: str, mend: str) -> None:
        super().__init__(
            f"The live key of {lineage} (pin {pin}) is not among the pins of the keyring {keyring}.",
            text.joined(
                f"{lineage} was probably renewed or restored without pinkeep. Clients that hold the pins "
                f"({until}) refuse this certificate as soon as the web server serves it. pinkeep does not "
                "change the pins.",
                mend,
            ),
        )
        self.lineage = lineage
        self.pin = pin


class Unpinnable(PinkeepError):
    """A host of the keyring is served with a key that cannot be pinned (G2).

    :param command: gives that certificate another key
    """

    def __init__(self, keyring: str, lineage: str, why: str, command: str) -> None:
        super().__init__(
            f"The certificate {lineage} is for a host of the keyring {keyring}, and its key cannot be "
            "pinned:",
            f"{why} Clients that note the pins refuse {lineage}.",
            run=command,
        )


class OtherKeyring(PinkeepError):
    """A lineage has a host that another keyring pins (G2).

    A user agent keeps the header that it notes first, which lacks the other keyring's keys.

    :param mend: what to do, as sentences that end with a command
    :param carried: which releases hold its pins there, as sentences
    """

    def __init__(
        self, host: str, pinned_by: str, keyring: str, mend: str, carried: str = ""
    ) -> None:
        super().__init__(
            f"The keyring {pinned_by} pins {host}. Clients that hold its pins refuse a certificate of the "
            f"keyring {keyring}.",
            text.joined(carried, mend),
        )


class NotCovered(PinkeepError):
    """Publishing includeSubDomains would lock out clients of other lineages of this machine (G2)."""

    def __init__(self, keyring: str, others: list[str], *, published: bool) -> None:
        happens = (
            "Clients that hold the pins of the hosts above refuse them. pinkeep published includeSubDomains "
            "already, and goes on with it."
            if published
            else "pinkeep leaves includeSubDomains out of the header until that is mended."
        )
        super().__init__(
            f"--pinkeep-include-subdomains 'true': the keyring {keyring} would cover certificates "
            f"whose keys are not among its pins: {', '.join(others)}.",
            f"{happens} Move each of them to this keyring.",
            run=f"certbot renew --cert-name {shlex.quote(others[0])} --force-renewal --installer pinkeep "
            f"--pinkeep-keyring {keyring}",
        )


class BadRelease(PinkeepError):
    """A release cannot be recorded as the admin asked (G10)."""


class BadBackup(PinkeepError):
    """A key cannot be a backup of the keyring, or is none (G10)."""


class BadExport(PinkeepError):
    """Pins cannot be exported as the admin asked (G10)."""


class NotSafe(PinkeepError):
    """A rollover that would lock clients out (G2)."""


class TypeMissing(NotSafe):
    """The keyring has no key of the wanted type, and its pins bind at the names (G2).

    :ivar kind: of the keys that it lacks
    :param until: from when it has one, as sentences; empty: nothing was pinned in advance
    """

    def __init__(self, keyring: str, kind: KeyKind, until: str = "") -> None:
        key_type = kind.key_type.upper()
        super().__init__(
            f"The pins of the keyring {keyring} have no {key_type} key.",
            text.joined(
                "Clients hold these pins for the names of the certificate, and refuse a certificate with "
                f"an {key_type} key.",
                until or "Without --dry-run, pinkeep pins such keys in advance.",
            ),
        )
        self.keyring = keyring
        self.kind = kind


class NotAccepted(PinkeepError):
    """A lineage would join a keyring with a key that clients refuse at its hosts (G2)."""


class Compromised(NotSafe):
    """The key is compromised, so pinkeep does not hand it over, and no backup is safe (G3)."""


class KeyRefused(PinkeepError):
    """The CA refuses a key as compromised or blocked.

    :ivar pin: the pin of that key
    """

    def __init__(self, pin: str, why: str) -> None:
        super().__init__(f"The CA refuses the key with the pin {pin}:", why)
        self.pin = pin


class PublishFailed(PinkeepError):
    """The snippet could not be read, written, tested or loaded (G6)."""


class ApacheFailed(PublishFailed):
    """Apache refuses its configuration, or could not be reloaded (G6)."""


class BadCredentials(PinkeepError):
    """The file with the credentials for a zone cannot be used (G10). No value of it is told (G7)."""


class NoDnspython(PinkeepError):
    """dnspython, which asks name servers, is not installed: the extra ``dns``."""

    def __init__(self) -> None:
        super().__init__(
            "pinkeep cannot look at TLSA records: the Python package dnspython is not installed.",
            "On Debian, install python3-dnspython. Elsewhere, install dnspython 2.3 or later into the "
            "Python environment of certbot.",
            run="apt install python3-dnspython",
        )


class ZoneRefused(PinkeepError):
    """A zone's records could not be read or changed by its provider."""


class WrongKeyIssued(PinkeepError):
    """The CA issued a certificate for another key than the one handed over (G1)."""


class Unsupported(PinkeepError):
    """This certbot has no place to hand over a saved CSR."""
