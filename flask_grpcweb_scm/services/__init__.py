"""Services that gRPC defines for every server: health and reflection."""

from flask_grpcweb_scm.services.health import Check, Checks, Health, health_service
from flask_grpcweb_scm.services.reflection import Descriptors, read_sets, reflection_services

__all__ = [
    "Check",
    "Checks",
    "Descriptors",
    "Health",
    "HealthPages",
    "health_service",
    "read_sets",
    "reflection_services",
]
