"""The HTTP client of the APIs of providers."""
