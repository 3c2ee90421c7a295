"""Everything that knows HTTP, WSGI and Flask."""
