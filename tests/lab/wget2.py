"""GNU Wget2, the one user agent that still honours HPKP: it notes pins and refuses other keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lab.processes import LabError, clean_env, preload, program, run
from lab.waiting import HOST

MISMATCH = "Pubkey pinning mismatch"
REFUSED = 5


@dataclass(frozen=True)
class Visit:
    """What became of a visit."""

    returncode: int
    output: str

    @property
    def mismatch(self) -> bool:
        """The key that the site serves is not among those that this visitor noted."""
        return self.returncode == REFUSED and MISMATCH in self.output

    @property
    def accepted(self) -> bool:
        """The page was read."""
        return self.returncode == 0


class Wget2:
    """A visitor with a memory of its own, to whom the given names lead to 127.0.0.1."""

    def __init__(self, folder: Path, root: Path, names: Iterable[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = folder / "hpkp"
        self._home = folder
        self._root = root
        self._hosts = folder / "hosts"
        self._hosts.write_text("".join(f"{HOST} {name}\n" for name in names))

    def visit(self, url: str, *, faketime: timedelta | None = None) -> Visit:
        """Read a page, with the clock moved by ``faketime``; note its pins, or be refused.

        Anything but a page read and a key refused (no connection, no trust) is an error of the lab.
        """
        command = [
            program("wget2"),
            "--no-config",
            "--no-hsts",
            "--tries=1",
            "--hpkp",
            f"--hpkp-file={self.store}",
            f"--ca-certificate={self._root}",
            "--output-document=/dev/null",
            url,
        ]
        env = clean_env(HOME=str(self._home)) | preload(hosts=self._hosts, faketime=faketime)
        done = run(command, env=env)
        visit = Visit(done.returncode, done.output)
        if not visit.accepted and not visit.mismatch:
            raise LabError(f"neither read nor refused: {done}\n{done.output}")
        return visit

    def noted(self, name: str) -> list[str]:
        """The pins that this visitor holds for ``name``, as its own file has them."""
        pins: list[str] = []
        host = ""
        for line in self.store.read_text().splitlines() if self.store.exists() else []:
            words = line.split()
            if words[:1] == ["*sha256"]:
                pins += words[1:] if host == name else []
            elif words:
                host = words[0]
        return pins
