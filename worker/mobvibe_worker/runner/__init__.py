"""Runs jobs: claims them, renews their leases, and takes each attempt from staging to commit."""
