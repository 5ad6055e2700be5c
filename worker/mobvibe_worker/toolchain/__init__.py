"""Node, the Expo starters and the checks."""
