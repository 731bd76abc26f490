"""The wall clock, for what is stored."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)
