"""The configuration of the documentation site: `make docs`."""

from __future__ import annotations

import re
import runpy
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
SETUP = runpy.run_path(str(ROOT / "setup.py"))
FILES: dict[str, str] = {page: file for file, page in SETUP["FILES"].items()}
"""Pages that are files of the checkout, whose text comes before that of the page."""
sys.path.insert(0, str(Path(__file__).parent))

project = "flask_grpcweb_scm"
author = "flask_grpcweb_scm contributors"
copyright = author  # noqa: A001
version = release = version_of("flask_grpcweb_scm")

extensions = ["myst_parser", "pallets_sphinx_themes", "sphinx.ext.autodoc", "reference"]
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
toc_object_entries_show_parents = "hide"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# Domains of the theme.
suppress_warnings = ["myst.domains"]
exclude_patterns = ["_build"]

# `make docs-links`. Servers of readers, and the site itself, which may not be there yet.
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)", re.escape(SETUP["site"]())]
linkcheck_timeout = 10

# Quotes and dots, not dashes: options have two of these.
smartquotes_action = "qe"

html_theme = "flask"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"{project} {release}"
html_baseurl = SETUP["site"]()
html_theme_options = {"index_sidebar_logo": False}
html_sidebars = {"404": [], "**": ["localtoc.html", "globaltoc.html", "searchbox.html"]}
html_copy_source = False


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Have pages that are files of the checkout, and links to them and to other files of it."""
    text = source[0]
    if name in FILES:
        text = (ROOT / FILES[name]).read_text().replace("](docs/", "](") + text
        text = re.sub(r"\]\((?!https?:|#|mailto:)([^)#]+)", lambda match: _link(match, ROOT), text)
    else:
        text = re.sub(r"\]\(\.\./([^)#]+)", lambda match: _link(match, ROOT), text)
    source[0] = text


def _link(match: re.Match[str], folder: Path) -> str:
    target = match[1]
    for page, file in FILES.items():
        if target == file:
            return f"]({page}.md"
    return f"](../{target}" if (folder / target).exists() else match[0]


def setup(app: Sphinx) -> None:
    """Register what this file does itself."""
    app.connect("source-read", read_page)
