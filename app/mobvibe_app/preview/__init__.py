"""A project's preview: served, hosted by Metro, watched, and kept in step with its newest version."""
