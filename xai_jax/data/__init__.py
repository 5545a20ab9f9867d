"""Images to explain."""
