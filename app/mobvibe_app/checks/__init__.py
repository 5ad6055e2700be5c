"""The checks' commands in a container: sealed off from this machine and from every network."""
