"""Previews are mirrored and registered on a real Postgres."""

from __future__ import annotations

from support.postgres.database import database_url, pool, template_database

__all__ = ["database_url", "pool", "template_database"]
