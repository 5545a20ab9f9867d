"""Small networks that come with this package, and how they were trained."""
