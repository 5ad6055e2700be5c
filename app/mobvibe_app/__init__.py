"""The app: what a person at a terminal needs."""
