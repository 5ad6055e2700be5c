"""What tests share: real servers, recorded models, and ways to drive the program."""
