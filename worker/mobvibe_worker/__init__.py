"""The engine: builds apps from jobs, without a terminal and without Docker."""
