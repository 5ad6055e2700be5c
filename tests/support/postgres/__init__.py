"""Servers, databases, clocks and proxies for tests on a real Postgres."""
