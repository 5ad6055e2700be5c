"""The container engine: the only folder that imports the Docker SDK."""
