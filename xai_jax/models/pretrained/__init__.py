"""Small networks that are trained here on first use."""
