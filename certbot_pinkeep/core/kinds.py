"""What kinds of keys there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KeyType = Literal["rsa", "ecdsa"]


@dataclass(frozen=True)
class KeyKind:
    """What kind of key it is.

    :ivar key_type: ``rsa`` or ``ecdsa``
    :ivar detail: the size in bits of an RSA key, e.g. ``2048``; the curve of an ECDSA key, e.g.
        ``secp256r1``
    """

    key_type: KeyType
    detail: str

    def __str__(self) -> str:
        return f"{self.key_type.upper()} {self.detail}"
