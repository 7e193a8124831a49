"""The command line: what an operator types, and how an answer is drawn. No decision about rows."""
