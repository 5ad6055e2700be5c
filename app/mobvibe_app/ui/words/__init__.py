"""Puts values into words and marks for the screen; the command line uses the marks."""
