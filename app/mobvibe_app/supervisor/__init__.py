"""One detached process per home that runs its services for as long as a client needs them, and its clients."""
