"""Programs that we run: each under a guard that ends it, and all it started, when we are gone."""
