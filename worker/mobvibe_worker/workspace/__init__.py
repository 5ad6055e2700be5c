"""A project's files, and the rule that no path leads out of its folder."""
