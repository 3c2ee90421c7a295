"""Deriving code mappings from the paths of stack traces and the files of repositories; no database, no Flask.

A frame is read into a :class:`StackPath`; a :class:`TreeIndex` finds the files that it could mean; :func:`decide` says
which one it is and with which roots; :func:`choose` keeps one mapping for paths of one origin.
"""

from __future__ import annotations

from flask_grpcweb_scm.scm.code_mappings.decide import Finding, Place, choose, decide
from flask_grpcweb_scm.scm.code_mappings.frames import (
    Frame,
    StackPath,
    UnsupportedFrame,
    extension,
    read_frame,
    read_module,
    read_path,
)
from flask_grpcweb_scm.scm.code_mappings.roots import Roots, find_roots
from flask_grpcweb_scm.scm.code_mappings.tree_cache import TreeCache
from flask_grpcweb_scm.scm.code_mappings.tree_index import Matches, TreeIndex, TreeTooLarge, is_source_file

__all__ = [
    "Finding",
    "Frame",
    "Matches",
    "Place",
    "Roots",
    "StackPath",
    "TreeCache",
    "TreeIndex",
    "TreeTooLarge",
    "UnsupportedFrame",
    "choose",
    "decide",
    "extension",
    "find_roots",
    "is_source_file",
    "read_frame",
    "read_module",
    "read_path",
]
