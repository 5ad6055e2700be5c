"""What runs in a home, as one handle."""
