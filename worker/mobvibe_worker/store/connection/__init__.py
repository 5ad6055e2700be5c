"""How the store reaches Postgres: pool, listener, row types, statements and their errors."""
