"""Where the contents of repositories are: local git mirrors, and the APIs of providers.

The latter are not among the names here: only who calls a provider needs to import urllib3, which takes its time.
"""

from flask_grpcweb_scm.scm.sources.source import SNIPPET_LINES, Blame, Line, Source

__all__ = ["SNIPPET_LINES", "Blame", "Line", "Source"]
