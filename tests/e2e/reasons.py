"""Say why an end-to-end test needs one certbot only: the newest.

A test that shows what certbot does, or what pinkeep does to certbot, runs with Debian's certbot, too.
"""

from __future__ import annotations

import pytest

RULE = pytest.mark.one_certbot("pinkeep decides by its keyring file, whatever certbot calls it")
SERVER = pytest.mark.one_certbot("the server and its visitors act after certbot's work is done")
COMMAND = pytest.mark.one_certbot("the plugin's command works on files and ports, without certbot")
VALUE = pytest.mark.one_certbot("one value that shows the same is tried with each certbot")
FILES = pytest.mark.one_certbot("pinkeep writes all of the files, certbot none")
PLAIN = pytest.mark.one_certbot("certbot works without pinkeep, for comparison")
LAB = pytest.mark.one_certbot("the lab itself is tested")
