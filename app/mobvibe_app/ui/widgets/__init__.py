"""What screens are made of: one widget for each file."""
