"""Puts values into words for the screen."""
