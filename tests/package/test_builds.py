"""The package is built on a fresh Debian by one command, as Debian wants its packages."""

from pathlib import Path

import pytest

from package.conftest import Start, build


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_a_fresh_debian_builds_the_package_without_a_word_from_lintian(
    release: str, start: Start, tmp_path: Path
) -> None:
    """``./dev deb`` installs what it needs; lintian finds no error and no warning."""
    machine = start(release, site="")
    built = build(machine, tmp_path)
    machine.apt("install --no-install-recommends lintian")
    found = machine.run(
        f"lintian --allow-root --fail-on error,warning --tag-display-limit 0 {built}"
    )
    assert found == ""
