"""Trackers: hosts of issues, and the HTTP client for them and for other APIs of providers."""

from flask_grpcweb_scm.scm.trackers.credentials import Credential, find_credential
from flask_grpcweb_scm.scm.trackers.errors import (
    CredentialRefused,
    TrackerConflict,
    TrackerError,
    TrackerForbidden,
    TrackerMisconfigured,
    TrackerNotFound,
    TrackerRateLimited,
    TrackerRejected,
    TrackerTimeout,
    TrackerUnavailable,
)
from flask_grpcweb_scm.scm.trackers.http import HttpClient, HttpReply, path_of

__all__ = [
    "Credential",
    "CredentialRefused",
    "HttpClient",
    "HttpReply",
    "TrackerConflict",
    "TrackerError",
    "TrackerForbidden",
    "TrackerMisconfigured",
    "TrackerNotFound",
    "TrackerRateLimited",
    "TrackerRejected",
    "TrackerTimeout",
    "TrackerUnavailable",
    "find_credential",
    "path_of",
]
