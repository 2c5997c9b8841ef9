"""Ask the CA whether live certificates are revoked, once a day.

The rules:

* The CRL that a certificate names is asked. What it does not say for sure is not told.
* An answer counts for a day, and "revoked" for ever. After a question without an answer the CA is asked
  again an hour later: monitoring runs often, and CRLs are large.
* When a certificate was asked about is noted first. If that cannot be noted, nobody is asked.
* All questions of a run together have a time limit. What is left is asked in the next run.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from certbot_pinkeep.adapters import clock, revocation
from certbot_pinkeep.core import times
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.storage.uptodate import REVOCATIONS, UpToDate

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
#: For how long an answer is kept of a certificate that nobody asks about any more.
_KEPT = timedelta(days=100)
_REASON, _ASKED, _KNOWN = "reason", "asked", "known"


class Revocations:
    """Keep what the CAs say of live certificates.

    :param work_dir: certbot's ``--work-dir``
    :param time_limit: seconds that all questions together may take
    """

    def __init__(self, work_dir: str, now: datetime, time_limit: float) -> None:
        self._cache = UpToDate(work_dir)
        self._now = now
        self._end = clock.seconds() + time_limit
        self._noted: dict[str, Any] | None = None

    def reason(self, fingerprint: str, cert_path: str) -> str:
        """Say why a certificate is revoked, e.g. ``keyCompromise``; empty: it is not, or nobody knows."""
        noted = self._answers().get(fingerprint, {})
        left = self._end - clock.seconds()
        if noted.get(_REASON) or left <= 0 or not self._is_due(noted):
            return str(noted.get(_REASON, ""))
        pem = atomic.content(cert_path)
        if not revocation.names_crl(pem) or not self._note(fingerprint, known=False, reason=""):
            return ""
        chain = atomic.content(os.path.join(os.path.dirname(cert_path), "chain.pem"))
        answer = revocation.look(pem, chain, self._now, left)
        reason = answer.reason if answer.revoked else ""
        if answer.revoked is not None:
            self._note(fingerprint, known=True, reason=reason)
        return reason

    def _is_due(self, noted: dict[str, Any]) -> bool:
        age = self._age(noted)
        return age is None or not timedelta(0) <= age < (_DAY if noted.get(_KNOWN) else _HOUR)

    def _age(self, noted: dict[str, Any]) -> timedelta | None:
        with suppress(KeyError, ValueError, TypeError):
            return self._now - times.parse(noted[_ASKED])
        return None

    def _answers(self) -> dict[str, Any]:
        if self._noted is None:
            found = self._cache.noted(REVOCATIONS)
            self._noted = {name: one for name, one in found.items() if isinstance(one, dict)}
        return self._noted

    def _note(self, fingerprint: str, *, known: bool, reason: str) -> bool:
        noted = self._answers()
        noted[fingerprint] = {_ASKED: times.text(self._now), _KNOWN: known, _REASON: reason}
        kept = {
            name: one
            for name, one in noted.items()
            if (age := self._age(one)) is not None and age < _KEPT
        }
        self._cache.note(REVOCATIONS, kept)
        return self._cache.noted(REVOCATIONS) == kept
