"""mobvibe-tui db: the database as a tool."""
