"""Child processes, each under a guard that ends it and its descendants when we end."""
