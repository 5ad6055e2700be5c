"""One running mobvibe-tui: commands go down as values, changes come up as values."""
