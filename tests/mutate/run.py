"""Break the product on purpose, one rule at a time, and see that a test fails each time.

Beside the number of a break stands the test that saw it. A break that no test sees makes this fail.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from breaks import BREAKS, Break

ROOT = Path(__file__).resolve().parents[2]
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.M)
#: A break may make a test wait for ever, which is a failure as well.
_LONGEST = 900


def copied(place: Path) -> Path:
    """A copy of the package and its unit tests."""
    for name in ("certbot_pinkeep", "tests", "docs"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, place)
    return place


def failed(place: Path, tests: tuple[str, ...]) -> str | None:
    """The first test that fails in the copy; ``None``: all pass."""
    files = [str(path) for name in tests for path in place.rglob(f"tests/unit/**/test_{name}.py")]
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(
            words,
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired:
        return "a test that does not end"
    if done.returncode not in (0, 1, 2):
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    found = _FAILED.search(done.stdout)
    return None if done.returncode == 0 else (found[1] if found else "an error")


def seen(place: Path, one: Break) -> str | None:
    """The test that sees a break; ``None``: none does."""
    path = place / "certbot_pinkeep" / f"{one.module}.py"
    sound = path.read_text("utf-8")
    if sound.count(one.piece) != 1:
        raise SystemExit(f"{one.module}: the piece does not occur once: {one.piece}")
    broken = sound.replace(one.piece, one.instead)
    compile(broken, str(path), "exec")  # else any test would see it
    path.write_text(broken, "utf-8")
    try:
        return failed(place, one.tests)
    finally:
        path.write_text(sound, "utf-8")


def main() -> int:
    """Break one rule after another; say which test saw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="the modules whose path contains this")
    parser.add_argument("--first", type=int, default=1, help="the number of the first break")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parsed = parser.parse_args()
    chosen = [one for one in BREAKS if parsed.only in one.module][parsed.first - 1 :]
    with tempfile.TemporaryDirectory() as folder:
        free: Queue[Path] = Queue()
        for number in range(parsed.workers):
            free.put(copied(Path(folder, str(number))))

        def tried(one: Break | tuple[str, ...]) -> str | None:
            place = free.get()
            try:
                return seen(place, one) if isinstance(one, Break) else failed(place, one)
            finally:
                free.put(place)

        sets = sorted({one.tests for one in chosen})
        with ThreadPoolExecutor(parsed.workers) as pool:
            for tests, wrong in zip(sets, pool.map(tried, sets), strict=True):
                if wrong is not None:
                    print(f"Without any break, a test of {' '.join(tests)} fails: {wrong}")
                    return 1
            unseen = 0
            for number, (one, by) in enumerate(
                zip(chosen, pool.map(tried, chosen), strict=True), parsed.first
            ):
                unseen += by is None
                what = " ".join(one.piece.split())[:60]
                print(f"{number:3} {one.module}: {what}: {by or 'NOT SEEN'}", flush=True)
    print(f"{len(chosen) - unseen} of {len(chosen)} breaks are seen.")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
