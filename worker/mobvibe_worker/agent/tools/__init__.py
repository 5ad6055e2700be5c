"""The model's tools: reading and changing the staged folder, and running the checks. There is no shell."""
