"""What the end-to-end tests share: one CA for all; folders, servers and visitors for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import certbot
import pytest

import certbot_pinkeep

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.world import API, DOMAIN, KEYRING, NAME, SHOP, ZYGOTE, Bot, Family, Pinned, snippet_of
from lab import Apache, Ca, Certbot, LabError, VirtualHost, Wget2

# Which certbot the tox environment promises: "newest" (PyPI's) or "debian" (Debian's own package).
FLAVOUR = os.environ.get("LAB_CERTBOT", "newest")
DEBIANS = "/usr/lib/python3/dist-packages"

VisitorMaker = Callable[..., Wget2]
ApacheMaker = Callable[..., Apache]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The picture in docs/how-it-works.rst is drawn from what the time lapse leaves behind."""
    parser.addoption(
        "--picture", metavar="FILE.svg", help="where the time lapse draws its timeline"
    )


def pytest_report_header() -> str:
    """Say which certbot is tested."""
    return f"certbot: {certbot.__version__} ({FLAVOUR}) from {certbot.__file__}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose what runs with this certbot; long tests begin first."""
    if FLAVOUR != "newest":
        left_out = [item for item in items if item.get_closest_marker("one_certbot")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def flavour() -> str:
    """The certbot under test, which must be the promised one, and the plugin as it was installed."""
    from_debian = str(certbot.__file__).startswith(DEBIANS)
    if from_debian != (FLAVOUR == "debian"):
        raise LabError(f"the {FLAVOUR} certbot was promised, but it comes from {certbot.__file__}")
    if "LAB_CERTBOT" in os.environ and not certbot_pinkeep.__file__.startswith(sys.prefix):
        raise LabError(f"not the installed plugin is tested, but {certbot_pinkeep.__file__}")
    return FLAVOUR


@pytest.fixture(scope="session", autouse=True)
def clocks() -> Iterator[None]:
    """End the process that runs certbot under other clocks."""
    with ZYGOTE:
        yield


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ca]:
    """A Pebble for the whole session."""
    with Ca(tmp_path_factory.mktemp("ca")) as running:
        yield running


@pytest.fixture(scope="session")
def root(ca: Ca) -> Path:
    """The root certificate that visitors trust."""
    return ca.root()


@pytest.fixture
def certbot_(ca: Ca, tmp_path: Path) -> Certbot:
    """A certbot with empty folders."""
    return Certbot(tmp_path / "certbot", ca)


@pytest.fixture
def visitor(root: Path, tmp_path: Path) -> VisitorMaker:
    """Makes an HPKP user agent with an empty memory: ``visitor("www.pin.test", …)``."""
    made: list[Wget2] = []

    def make(*names: str) -> Wget2:
        made.append(Wget2(tmp_path / f"visitor-{len(made)}", root, names))
        return made[-1]

    return make


@pytest.fixture
def apache(tmp_path: Path) -> Iterator[ApacheMaker]:
    """Starts an Apache for the sites given, and ends it with the test: ``apache(VirtualHost(…), …)``."""
    with ExitStack() as running:
        made: list[Apache] = []

        def start(*sites: VirtualHost) -> Apache:
            made.append(Apache(tmp_path / f"apache-{len(made)}", sites))
            return running.enter_context(made[-1])

        yield start


@pytest.fixture(scope="session")
def quick_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ca]:
    """A Pebble that validates a name once per account: what is tested is what comes after."""
    with Ca(tmp_path_factory.mktemp("quick-ca"), reuse=True) as running:
        yield running


@pytest.fixture(scope="session")
def quick_root(quick_ca: Ca) -> Path:
    """The root certificate of that Pebble."""
    return quick_ca.root()


@pytest.fixture(scope="session")
def template(quick_ca: Ca, tmp_path_factory: pytest.TempPathFactory) -> Certbot:
    """A certbot with one lineage, not due, made without the plugin. To be copied, never used."""
    made = Certbot(tmp_path_factory.mktemp("template"), quick_ca)
    made.certonly("-d", NAME).check()
    return made


@pytest.fixture
def empty_bot(quick_ca: Ca, tmp_path: Path) -> Iterator[Bot]:
    """A certbot with empty folders; the machine's own Apache must not be reached for by it."""
    bot = Bot(tmp_path / "bot", quick_ca)
    yield bot
    assert not bot.told.exists(), bot.told.read_text()


@pytest.fixture
def bot(empty_bot: Bot, template: Certbot) -> Bot:
    """The same with a lineage that is not pinned and not due."""
    empty_bot.copy_of(template)
    return empty_bot


@pytest.fixture
def site(bot: Bot, apache: ApacheMaker) -> Pinned:
    """A site that is not pinned yet, its Apache ready to include the snippet."""
    server = apache(VirtualHost((NAME,), (bot.live(NAME),), snippet_of(bot, NAME)))
    return Pinned(bot, server)


@pytest.fixture
def pinned(site: Pinned) -> Pinned:
    """The same, adopted."""
    site.adopt()
    return site


@pytest.fixture
def regular(quick_root: Path, tmp_path: Path) -> Wget2:
    """An HPKP user agent who comes back, its memory empty at first."""
    return Wget2(tmp_path / "regular", quick_root, (NAME, "api.pin.test"))


@pytest.fixture
def newcomer(quick_root: Path, tmp_path: Path) -> Callable[[], Wget2]:
    """Makes further user agents with an empty memory."""
    made: list[Wget2] = []

    def make() -> Wget2:
        made.append(Wget2(tmp_path / f"newcomer-{len(made)}", quick_root, (NAME,)))
        return made[-1]

    return make


@pytest.fixture(scope="session")
def family_template(quick_ca: Ca, tmp_path_factory: pytest.TempPathFactory) -> Certbot:
    """A certbot with a lineage for a domain and two below it. To be copied, never used."""
    made = Bot(tmp_path_factory.mktemp("family-template"), quick_ca)
    for name in (DOMAIN, NAME, API):
        made.certonly("-d", name).check()
    return made


@pytest.fixture
def relatives(empty_bot: Bot, family_template: Certbot, apache: ApacheMaker) -> Family:
    """Three lineages that are not pinned yet; Apache is ready to include one snippet for all."""
    empty_bot.copy_of(family_template)
    header = snippet_of(empty_bot, KEYRING)
    hosts = [VirtualHost((name,), (empty_bot.live(name),), header) for name in (DOMAIN, NAME, API)]
    return Family(empty_bot, apache(*hosts))


@pytest.fixture
def family(relatives: Family) -> Family:
    """The same on one keyring, each still with the key of its own; the pins cover subdomains."""
    relatives.adopt("--pinkeep-include-subdomains")
    return relatives


@pytest.fixture
def guest(quick_root: Path, tmp_path: Path) -> Wget2:
    """An HPKP user agent to whom the whole domain is known."""
    return Wget2(tmp_path / "guest", quick_root, (DOMAIN, NAME, API, SHOP))
