"""The live event stream: entries, the buffer of rows, and the widget that draws them."""
