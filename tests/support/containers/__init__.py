"""A real container engine, and the containers and images that tests run on it."""
