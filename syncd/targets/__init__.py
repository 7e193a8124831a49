"""The systems that are kept in step."""
