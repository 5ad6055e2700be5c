"""Shared test tools: real servers, recorded models, and drivers of the program."""
