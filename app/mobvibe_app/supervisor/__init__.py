"""One detached process per home that runs its services for as long as a client needs them.

Also its clients, and what they share: ports, remembered choices, logs and budgets of restarts.
"""
