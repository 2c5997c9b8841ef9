"""Sphinx's settings: the pages, and certbot-pinkeep(1) from the same source."""

import sys
from pathlib import Path

# The page of the plugin's options is the package's docstring.
sys.path.insert(0, str(Path(__file__).parent.parent))

from certbot_pinkeep import __version__

project = "certbot-pinkeep"
author = "the certbot-pinkeep project"
version = release = __version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
nitpicky = True
pygments_style = "sphinx"
# Options stay two hyphens.
smartquotes = False

html_theme = "alabaster"
html_theme_options = {"description": "Keep pinned TLS keys through certbot's renewals"}
html_copy_source = False

man_pages = [
    (
        "reference/command",
        "certbot-pinkeep",
        "see to the pinned keys that the certbot installer pinkeep keeps",
        "",
        1,
    )
]
