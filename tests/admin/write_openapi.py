"""Writes ``schemas/openapi.json`` anew: ``python -m tests.admin.write_openapi``."""

import json

from tests.admin.test_openapi import KEPT, made

if __name__ == "__main__":
    KEPT.write_text(json.dumps(made(), indent=2) + "\n", "utf-8")
