"""What can go wrong, as sentences for admins.

Rules of every message:

* it says what happened, with the option, value or file concerned;
* it says what to do, as a command where there is one;
* it never contains key material (G7);
* it can be printed, and is short, whatever text from outside is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_pinkeep.core import text

if TYPE_CHECKING:
    from certbot_pinkeep.core.kinds import KeyKind


class PinkeepError(Exception):
    """Base of all errors of certbot-pinkeep; ``str()`` is a sentence for admins."""

    def __str__(self) -> str:
        return text.printable(super().__str__())


class BadOption(PinkeepError):
    """An option has a value that cannot be used (G10).

    :ivar option: the option as it is typed, e.g. ``--pinkeep-max-age``
    :ivar value: the value that was given
    :ivar why: what is wrong with it, and what to give
    """

    def __init__(self, option: str, value: object, why: str) -> None:
        self.option = option
        self.value = value
        self.why = why
        super().__init__(f"{option} {str(value)!r}: {why}")

    def __str__(self) -> str:
        return text.escaped(Exception.__str__(self))  # whole: the admin typed it


class NoKeyringName(BadOption):
    """A certificate's own name cannot name its keyring, and no other name was given (G10).

    :ivar better: a name that can
    """

    def __init__(self, lineage: str, why: str, better: str) -> None:
        super().__init__("--pinkeep-keyring", lineage, why)
        self.better = better
        self.args = (
            f"The name of the certificate, {lineage!r}, cannot name its keyring: {why} Give the "
            f"keyring another name, with --pinkeep-keyring {better}.",
        )


class BadPolicy(PinkeepError):
    """A header that must not be published (G4, RFC 7469 §2.5, §4.3)."""


class BadHeader(PinkeepError):
    """A header text that RFC 7469 §2.1 does not allow."""


class DamagedState(PinkeepError):
    """A keyring file that cannot be trusted (G8).

    :ivar path: the file
    """

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(
            f"The keyring file {path} {why}. Renewals go on with the current key, but nothing is "
            "published and no key is rolled over. Restore the file from a backup, or move it away "
            "and run 'certbot renew --installer pinkeep', which adopts what is live anew; then add the "
            "releases and the backups of your own again."
        )


class UnreadableState(DamagedState):
    """A keyring file that cannot be read at all; whether it can be trusted is not known."""

    def __init__(self, path: str, error: OSError) -> None:
        self.path = path
        mend = (
            "Run this as the user who runs certbot, which is root mostly."
            if isinstance(error, PermissionError)
            else "See to the disk. Until then renewals go on with the current key, but nothing is "
            "published and no key is rolled over."
        )
        told = f"The keyring file {path} cannot be read: {error.strerror or error}. {mend}"
        Exception.__init__(self, told)


class UntrustedState(DamagedState):
    """A keyring file that other users can change."""

    def __init__(self, path: str, why: str, mend: str) -> None:
        self.path = path
        told = (
            f"The keyring file {path} cannot be trusted: {why}. Renewals go on with the current key, "
            "but nothing is published and no key is rolled over. See that nobody changed what is there. "
            f"Run: {mend}"
        )
        Exception.__init__(self, told)


class BadFolder(PinkeepError):
    """A folder that is missing, not ours, or open to others (G7, G10)."""


class BadKey(PinkeepError):
    """A private key or CSR that cannot be used."""


class LocksOut(PinkeepError):
    """What is asked for, or live, locks clients out (G2): it is not to be served."""


class Unpinned(LocksOut):
    """The live key is in none of the pins that clients were given.

    :ivar lineage: the certificate that serves it
    :ivar pin: the pin of the live key
    """

    def __init__(self, lineage: str, pin: str, keyring: str, until: str, mend: str) -> None:
        self.lineage = lineage
        self.pin = pin
        super().__init__(
            f"The live key of {lineage} (pin {pin}) is not among the pins of the keyring "
            f"{keyring}: it came past pinkeep, by a renewal or from a backup. Clients that hold the "
            f"pins ({until}) refuse this certificate as soon as Apache serves it. The pins stay as they "
            f"are. {mend}"
        )


class Unpinnable(PinkeepError):
    """A host of the keyring is served with a key that cannot be pinned (G2).

    :param command: gives that certificate another key
    """

    def __init__(self, keyring: str, lineage: str, why: str, command: str) -> None:
        super().__init__(
            f"The certificate {lineage} is for a host of the keyring {keyring}, and its key cannot be "
            f"pinned: {why} Clients that note the pins refuse it. Run: {command}"
        )


class OtherKeyring(LocksOut):
    """A lineage has a host that another keyring pins (G2).

    In a user agent the header that is noted first counts, and it lacks the other keyring's keys.

    :param run: what to do, which ends with a command
    :param carried: which releases hold its pins there, as sentences
    """

    def __init__(
        self, host: str, pinned_by: str, keyring: str, run: str, carried: str = ""
    ) -> None:
        super().__init__(
            f"{host} is pinned by the keyring {pinned_by}: clients that hold its pins refuse a "
            f"certificate of the keyring {keyring}.{carried} {run}"
        )


class NotCovered(PinkeepError):
    """includeSubDomains would lock out clients of other lineages of this machine (G2)."""

    def __init__(self, keyring: str, others: list[str], published: bool) -> None:
        happens = (
            "Clients that hold the pins of the hosts above refuse them. includeSubDomains is "
            "published already and stays"
            if published
            else "includeSubDomains is left out of the header until that is mended"
        )
        super().__init__(
            f"--pinkeep-include-subdomains 'true': the keyring {keyring} would cover certificates "
            f"whose keys are not among its pins: {', '.join(others)}. {happens}. Have each of them "
            f"draw on the keyring: certbot renew --cert-name {others[0]} --force-renewal --installer "
            f"pinkeep --pinkeep-keyring {keyring}"
        )


class BadRelease(PinkeepError):
    """A release cannot be recorded as it was asked for (G10)."""


class BadBackup(PinkeepError):
    """A key cannot be a backup of the keyring, or is none (G10)."""


class BadExport(PinkeepError):
    """Pins cannot be exported as it was asked for (G10)."""


class NotSafe(LocksOut):
    """A rollover that would lock clients out (G2)."""


class TypeMissing(NotSafe):
    """The keyring has no key of the type that is asked for, and its pins bind at the names (G2).

    :ivar kind: of the keys that it lacks
    """

    def __init__(self, keyring: str, kind: KeyKind, until: str = "") -> None:
        self.keyring = keyring
        self.kind = kind
        super().__init__(
            f"The pins of the keyring {keyring} have no {kind.key_type.upper()} key, and clients "
            "hold them for these names: they refuse a certificate of that type. "
            + (until or "Without --dry-run, such keys are pinned in advance.")
        )


class NotAccepted(LocksOut):
    """A lineage is to join a keyring with a key that clients refuse at its hosts (G2)."""


class Compromised(NotSafe):
    """A compromised key is not handed over, and no backup is safe (G3)."""


class KeyRefused(PinkeepError):
    """The CA refuses a key as compromised or blocked.

    :ivar pin: the pin of that key
    """

    def __init__(self, pin: str, why: str) -> None:
        self.pin = pin
        super().__init__(f"The CA refuses the key with the pin {pin}: {why}")


class PublishFailed(PinkeepError):
    """The snippet could not be read, written, tested or loaded (G6)."""


class ApacheFailed(PublishFailed):
    """Apache refuses its configuration, or could not be reloaded (G6)."""


class WrongKeyIssued(PinkeepError):
    """The CA issued a certificate for another key than the one handed over (G1)."""


class Unsupported(PinkeepError):
    """This certbot cannot be handed a saved CSR."""
