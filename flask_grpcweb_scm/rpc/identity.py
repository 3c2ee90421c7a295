"""The identity of a caller."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANONYMOUS", "Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller and what it may do; ``None`` stands for no restriction."""

    name: str = "anonymous"
    """For logs; never a credential."""
    organizations: frozenset[int | str] | None = None
    """Organizations it may reach, by id (int) or slug (str)."""
    methods: frozenset[str] | None = None
    """Methods it may call, as ``pkg.Service/Method`` or ``pkg.Service/*``."""

    def may_call(self, service: str, method: str) -> bool:
        """Return whether this caller may call a method, by its full name."""
        return self.methods is None or not self.methods.isdisjoint((f"{service}/{method}", f"{service}/*"))


ANONYMOUS = Identity()
"""A stranger, who may do everything."""
