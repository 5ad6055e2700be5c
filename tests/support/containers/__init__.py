"""A real engine of containers, and what tests run on it."""
