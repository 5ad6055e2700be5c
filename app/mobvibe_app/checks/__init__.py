"""Runs the checks' commands in a container, isolated from this machine and from every network."""
