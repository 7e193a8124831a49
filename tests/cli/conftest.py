"""The command line in a folder of its own."""

from pathlib import Path

import pytest

from tests.cli.fake_app import PIPELINE, Syncd


@pytest.fixture
def syncd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Syncd:
    """``syncd`` in a folder with a pipeline, and a small application behind it."""
    monkeypatch.chdir(tmp_path)
    for name in ("SYNCD_CONFIG", "SYNCD_DEBUG", "NO_COLOR", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for place in (tmp_path, tmp_path / "airports"):
        place.mkdir(exist_ok=True)
        (place / "pipeline.yaml").write_text(PIPELINE)
    return Syncd()
