"""Where what happened is told to others: events, and messages for people."""
