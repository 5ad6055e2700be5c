"""Postgres for one home: embedded, or in a container."""
