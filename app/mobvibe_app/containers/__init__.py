"""The engine of containers: the only folder that imports the docker SDK."""
