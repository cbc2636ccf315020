"""Sphinx's settings of the site: `make site` builds it from these pages and from the docstrings."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "site"))

from caselli import __version__  # noqa: E402

project, author, release = "Caselli", "The Caselli developers", __version__
copyright = "the Caselli developers, MIT licence"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "katex",
    "reference",
    "gallery",
]
root_doc = "index"
exclude_patterns = [".katex", "site", "pictures"]
nitpicky = False

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
default_role = "code"
napoleon_custom_sections = [("Errors", "Raises")]
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"Caselli {release}"
html_static_path = ["site/static"]
html_css_files = ["katex/katex.min.css", "site.css"]
html_math_renderer = "katex"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
