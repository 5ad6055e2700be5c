"""The live event stream: its buffer, its rows and the widget that draws them."""
