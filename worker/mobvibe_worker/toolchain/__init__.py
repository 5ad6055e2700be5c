"""Node, npm, the Expo starters and the checks."""
