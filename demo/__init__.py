"""The whole story on this machine: two databases, three nights, the real command line."""
