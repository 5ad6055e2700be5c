"""Servers that implement the Messages API, and a bench for the agent loop."""
