"""Metadata that setup.cfg cannot say: README.md, and the addresses of pages, as they are where the package is not."""

import configparser
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
FILES = {"CHANGES.md": "changes", "CONTRIBUTING.md": "contributing", "README.md": "index", "SECURITY.md": "security"}
"""Files of the checkout that are pages of the documentation site, by the names of the pages."""


def site() -> str:
    """The address of the documentation site: ``url`` of setup.cfg, the only place that has it. It ends with ``/``."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["metadata"]["url"]


def readme() -> str:
    """README.md, whose links to files of the checkout lead to the site."""

    def page(match: re.Match[str]) -> str:
        path, anchor = match.groups()
        name = FILES.get(path) or path.removeprefix("docs/").removesuffix(".md")
        return f"]({site()}{name}.html{anchor}"

    return re.sub(r"\]\(((?:docs/)?[\w-]+\.md)(#[\w-]*|)", page, (ROOT / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    setup(
        long_description=readme(),
        long_description_content_type="text/markdown",
        project_urls={"Documentation": site(), "Changes": f"{site()}changes.html"},
    )
