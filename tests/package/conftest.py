"""The package, built once on a fresh Debian 12, and machines to install it on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from package.machine import ROOT, DebianMachine

Start = Callable[..., DebianMachine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start machines, which end with the test."""
    with ExitStack() as machines:

        def start(release: str, *, site: str = "apache") -> DebianMachine:
            return machines.enter_context(DebianMachine(release, tmp_path / release, site=site))

        yield start


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option for those who build once and test often."""
    parser.addoption("--deb", type=Path, help="the package to test, in place of one that is built")


@pytest.fixture(scope="session")
def deb(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as Debian 12 builds it."""
    given: Path | None = request.config.getoption("--deb")
    if given:
        return given
    folder = tmp_path_factory.mktemp("deb")
    with DebianMachine("bookworm", folder / "machine", site="") as machine:
        built = build(machine, folder)
        package = folder / Path(built).name
        package.write_bytes(Path(machine.path(built)).read_bytes())
    return package


def build(machine: DebianMachine, folder: Path) -> str:
    """Build the package from this work tree on a machine, and return its path there.

    :param folder: for a copy of the work tree
    """
    tree = folder / "certbot-pinkeep"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    machine.put(tree, "/root")
    said = machine.run("cd /root/certbot-pinkeep && ./dev deb", network=True)
    return f"/root/certbot-pinkeep/{said.splitlines()[-1]}"
