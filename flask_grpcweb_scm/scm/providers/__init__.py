"""The APIs of providers: one HTTP client for trackers and sources, its credentials and its errors.

The client itself is not among the names here: importing urllib3 is slow, and only who calls a provider needs it.
"""

from flask_grpcweb_scm.scm.providers.credentials import Credential, find_credential, is_configured
from flask_grpcweb_scm.scm.providers.errors import (
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

__all__ = [
    "Credential",
    "CredentialRefused",
    "ProviderConflict",
    "ProviderError",
    "ProviderForbidden",
    "ProviderMisconfigured",
    "ProviderNotFound",
    "ProviderRateLimited",
    "ProviderRejected",
    "ProviderTimeout",
    "ProviderUnavailable",
    "find_credential",
    "is_configured",
]
