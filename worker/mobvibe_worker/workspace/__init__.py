"""A project's files, and the rule that no path leaves them."""
