"""A first look at the lineages of a run: which ones are up to date.

The rules:

* ``certbot renew`` comes to each lineage twice a day, and mostly nothing has changed. So this module
  loads little, and reads one small file for each lineage.
* The files of a keyring are looked at once, however many lineages draw on it.
* The first lineage that is not up to date starts the run itself (see ``run``). So does a certificate
  that came, changed or went since the last run. From then on this look says nothing more.
* Certificates are looked at again when certbot ends: another installer may have renewed one meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.adapters.certificates import Certificates
from certbot_pinkeep.storage.shadow import Shadow
from certbot_pinkeep.storage.uptodate import CERTIFICATES, UpToDate


class FirstLook:
    """What one process sees of a config dir before its run starts.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    :ivar noted: the files of all certificates as of the last run; ``None``: nobody has looked yet
    :ivar is_over: whether the run has started
    """

    def __init__(self, config_dir: str, work_dir: str) -> None:
        self.cache = UpToDate(work_dir)
        self.noted: Mapping[str, object] | None = None
        self.is_over = False
        self._certificates = Certificates(config_dir)
        self._shadow = Shadow(work_dir, config_dir)
        self._changed = False
        self._known: dict[str, str] = {}

    def begin(self) -> bool:
        """Look at the certificates. Return whether this was the first time."""
        if self.noted is not None:
            return False
        self.noted = self.cache.noted(CERTIFICATES)
        self._changed = self.noted != self._certificates.stamps()
        return True

    def is_enough(self, lineage: str, given: Mapping[str, object], watched: Iterable[str]) -> bool:
        """Return whether nothing is to be done for a lineage; see :meth:`UpToDate.is_up_to_date`."""
        if self.is_over or self._changed:
            return False
        return self.cache.is_up_to_date(lineage, given, watched, self._known)

    def end(self) -> bool:
        """Note the time. Return whether the run has to start now, because a certificate has changed."""
        if self.is_over:
            return False
        if self.noted != self._certificates.stamps():
            return True
        self._shadow.tick(clock.now())
        return False


@lru_cache(maxsize=16)
def of(config_dir: str, work_dir: str) -> FirstLook:
    """Return the first look of this process at a config dir."""
    return FirstLook(config_dir, work_dir)
