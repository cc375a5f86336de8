"""What nixpkgs' driver does not have."""

from __future__ import annotations

from typing import Any


def extension(member: Any) -> Any:
    """Marks a function or method that nixpkgs' driver does not have."""
    return member
