"""``python -m observability``: write the dashboards and rules anew from the code beside them."""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from observability import alerts, dashboards, panels

HERE: Final = Path(__file__).resolve().parent
_MADE: Final = "# Made by `python -m observability`; change observability/alerts.py.\n"


def files() -> dict[Path, str]:
    """Every file that is made, with its text."""
    rules = HERE / "prometheus"
    made = {
        HERE / "grafana" / f"{name}.json": json.dumps(panels.as_json(board), indent=2) + "\n"
        for name, board in dashboards.DASHBOARDS.items()
    }
    recording, alerting = alerts.recording_groups(), alerts.alert_groups()
    made[rules / "recording.yaml"] = _yaml({"groups": recording})
    made[rules / "alerts.yaml"] = _yaml({"groups": alerting})
    made[rules / "tests.yaml"] = _yaml(alerts.tests())
    made[HERE.parent / "k8s" / "base" / "prometheus-rule.yaml"] = _yaml(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "syncd"},
            "spec": {"groups": [*recording, *alerting]},
        }
    )
    return made


def _yaml(document: dict[str, Any]) -> str:
    return _MADE + yaml.safe_dump(document, sort_keys=False, width=98)


def main() -> None:
    """Write them."""
    for path, text in files().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
