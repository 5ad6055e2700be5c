"""Servers that speak the Messages API, and a bench for the agent loop."""
