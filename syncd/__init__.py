"""syncd keeps a new database in step with a legacy one until the old one is switched off."""

__version__ = "0.1.0"
