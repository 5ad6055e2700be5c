"""How values read on the screen."""
