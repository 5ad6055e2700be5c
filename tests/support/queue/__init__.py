"""The model of the queue, the chaos runs, and workers to kill."""
