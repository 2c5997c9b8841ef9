"""Packaging of certbot-pinkeep."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
README = (HERE / "README.rst").read_text("utf-8")
VERSION = re.search(
    r'^__version__ = "([^"]+)"', (HERE / "certbot_pinkeep/__init__.py").read_text("utf-8"), re.M
)
assert VERSION

setup(
    name="certbot-pinkeep",
    version=VERSION[1],
    description="Keep pinned TLS keys through certbot's renewals",
    long_description=README,
    long_description_content_type="text/x-rst",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["certbot_pinkeep", "certbot_pinkeep.*"]),
    package_data={"certbot_pinkeep": ["py.typed"]},
    install_requires=[
        "acme>=2.1.0",
        "certbot>=2.1.0",
        "configobj>=5.0.6",
        "cryptography>=38.0.4",
        # Debian 12's certbot (Python 3.11) looks packages up by the names of their metadata's folders,
        # and does not find zope_interface, as zope.interface has it since 8.0: no certbot would run.
        'zope.interface>=5.4,<8; python_version < "3.12"',
        'zope.interface>=5.4; python_version >= "3.12"',
    ],
    extras_require={
        "test": [
            "argcomplete>=2",
            "dnspython>=2.3",
            "hypothesis>=6",
            "matplotlib>=3.6",
            "pytest>=7",
        ],
        "completion": ["argcomplete>=2"],
        "dns": ["dnspython>=2.3"],
        "timeline": ["matplotlib>=3.6"],
    },
    entry_points={
        "certbot.plugins": ["pinkeep = certbot_pinkeep.installer:Installer"],
        "certbot_pinkeep.exports": [
            "header = certbot_pinkeep.exports.web:header",
            "json = certbot_pinkeep.exports.web:as_json",
            "nginx = certbot_pinkeep.exports.web:nginx",
            "curl = certbot_pinkeep.exports.web:curl",
            "ios = certbot_pinkeep.exports.apps:ios",
            "android = certbot_pinkeep.exports.apps:android",
            "okhttp = certbot_pinkeep.exports.apps:okhttp",
            "trustkit = certbot_pinkeep.exports.apps:trustkit",
            "tlsa = certbot_pinkeep.exports.dns:tlsa",
        ],
        "certbot_pinkeep.zones": [
            "rfc2136 = certbot_pinkeep.carriers.zones.rfc2136:Rfc2136",
            "powerdns = certbot_pinkeep.carriers.zones.powerdns:PowerDns",
        ],
        "console_scripts": ["certbot-pinkeep = certbot_pinkeep.cli.main:main"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Plugins",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Security",
        "Topic :: System :: Systems Administration",
        "Typing :: Typed",
    ],
)
