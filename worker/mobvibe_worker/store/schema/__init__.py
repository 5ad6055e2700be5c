"""The schema as a whole: migrations, branches, contracts, and what the catalog says."""
