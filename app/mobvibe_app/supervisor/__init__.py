"""One detached process per home that owns the services of its environment, for as long as anyone needs them."""
