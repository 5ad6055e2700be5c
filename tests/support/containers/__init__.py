"""A real container engine, and what tests run on it."""
