"""The databases of the store's tests. Its tools are tested on every supported kind of database."""

from __future__ import annotations

from support.postgres.clusters import server_15, server_18
from support.postgres.database import database_url, empty_database, pool, template_database
from support.postgres.kinds import kind, migrated, prepared, server_neon

__all__ = ["database_url", "empty_database", "pool", "template_database"]
__all__ += ["kind", "migrated", "prepared", "server_15", "server_18", "server_neon"]
