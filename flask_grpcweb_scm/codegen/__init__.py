"""Typed decorators for services, generated from proto files: for ``protoc`` and for ``flask grpc stubs``."""

from flask_grpcweb_scm.codegen.services import (
    MessageClasses,
    comments_of,
    message_classes,
    messages_module,
    services_module,
    services_text,
)

__all__ = ["MessageClasses", "comments_of", "message_classes", "messages_module", "services_module", "services_text"]
