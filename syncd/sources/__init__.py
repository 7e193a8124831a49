"""The systems that are read, and only read."""
