"""Names that the migrations of apps import from here."""

from flask_grpcweb_scm.scm.database.name_search import create_search_index, include_object

__all__ = ["create_search_index", "include_object"]
