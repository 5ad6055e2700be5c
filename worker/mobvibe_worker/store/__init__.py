"""Everything that is stored in Postgres, one module for each table or concern."""
