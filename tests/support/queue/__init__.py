"""A plain model of the queue, chaos runs, and workers that tests may kill."""
