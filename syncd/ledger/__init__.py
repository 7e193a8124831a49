"""The memory: entries, runs and reviews, in the database of the target."""
