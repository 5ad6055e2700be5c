"""Everything that is kept in Postgres: one module for each table or concern."""
