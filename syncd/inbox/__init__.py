"""Inboxes: where wishes for work come from. Each asks for a claim, and knows nothing of rows."""
