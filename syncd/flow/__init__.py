"""The river: what becomes of a row, from the survey to the ledger. Start with ``pipeline``."""
