"""Transaction poolers in front of Postgres: what a URL tells, and what cannot be done through them."""

from __future__ import annotations

from urllib.parse import urlsplit

SUPABASE_TRANSACTION_PORT = 6543


def is_transaction_pooler(dsn: str) -> bool:
    """Whether statements of one client may run on different connections: no prepared statements, no LISTEN,
    no session locks. Known by Supabase's port (6543) and Neon's host name (`-pooler.`)."""
    try:
        parts = urlsplit(dsn)
        return parts.port == SUPABASE_TRANSACTION_PORT or "-pooler." in (parts.hostname or "")
    except ValueError:
        return False
