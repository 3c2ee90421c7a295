"""The parts of a tracker of one's own: an interface, values, errors, and markup.

A package has a subclass of :class:`Tracker`, and an entry point for it in the group ``flask_grpcweb_scm.trackers``.
"""

from flask_grpcweb_scm.scm.providers import (
    Credential,
    CredentialRefused,
    ProviderConflict,
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.http import HttpClient
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply
from flask_grpcweb_scm.scm.trackers.issues import (
    MAX_ALLOWED,
    MAX_FOUND,
    FoundIssue,
    NewIssue,
    TrackerField,
    TrackerIssue,
    comma_separated,
    user_name,
)
from flask_grpcweb_scm.scm.trackers.markup import readable, to_html, to_markdown
from flask_grpcweb_scm.scm.trackers.tracker import Tracker

__all__ = [
    "MAX_ALLOWED",
    "MAX_FOUND",
    "Complaint",
    "Credential",
    "CredentialRefused",
    "FoundIssue",
    "HttpClient",
    "HttpReply",
    "NewIssue",
    "ProviderConflict",
    "ProviderError",
    "ProviderForbidden",
    "ProviderMisconfigured",
    "ProviderNotFound",
    "ProviderRateLimited",
    "ProviderRejected",
    "ProviderTimeout",
    "ProviderUnavailable",
    "Tracker",
    "TrackerField",
    "TrackerIssue",
    "comma_separated",
    "path_of",
    "readable",
    "to_html",
    "to_markdown",
    "user_name",
]
