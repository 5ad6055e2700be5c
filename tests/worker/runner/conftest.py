"""The databases, programs and SDKs that the runner's tests share."""

from __future__ import annotations

from support.expo import make_expo_home as make_expo_home
from support.postgres.database import database_url, empty_database, pool, template_database

__all__ = ["database_url", "empty_database", "make_expo_home", "pool", "template_database"]
