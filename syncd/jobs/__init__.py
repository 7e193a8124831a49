"""What is asked for by a verb: set up, run, plan, verify, explain, decide."""
