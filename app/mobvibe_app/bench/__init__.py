"""Measures the queue and the events, beside other queues on the same server."""
