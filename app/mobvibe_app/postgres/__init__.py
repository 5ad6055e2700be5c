"""The Postgres of one home, embedded or in a container."""
