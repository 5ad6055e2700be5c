"""Tests of the schema, on every kind of database that it supports."""

from __future__ import annotations

from support.postgres.clusters import server_15, server_18
from support.postgres.kinds import kind, migrated, prepared, server_neon

__all__ = ["kind", "migrated", "prepared", "server_15", "server_18", "server_neon"]
