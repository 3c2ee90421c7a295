"""Trackers: hosts of issues, and the HTTP client for them and for other APIs of providers.

The client is not among the names here: only who calls a tracker needs to import urllib3, which takes its time.
"""

from flask_grpcweb_scm.scm.providers.credentials import Credential, find_credential
from flask_grpcweb_scm.scm.providers.errors import (
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

__all__ = [
    "Credential",
    "CredentialRefused",
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
]
