"""Commands and panels of the queue, on a migrated database of each test's own."""

from __future__ import annotations

from support.postgres.database import database_url, empty_database, pool, template_database

__all__ = ["database_url", "empty_database", "pool", "template_database"]
