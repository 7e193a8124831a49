"""Panels and dashboards, and the JSON that Grafana reads.

A panel says what it shows, in which unit, and why anybody looks at it. Only what is used is
modelled; everything else is Grafana's default.
"""

from typing import Any, Final

from msgspec import Struct

_COLUMNS: Final = 24  # of Grafana's grid
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


class Query(Struct, frozen=True):
    """An expression of PromQL and how its series are named."""

    expr: str
    legend: str


class Panel(Struct, frozen=True):
    """``kind``: stat (one number each) | timeseries. ``words``: what a number of a stat means."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    words: tuple[tuple[int, str, str], ...] = ()  # number, word, colour


class Variable(Struct, frozen=True):
    """A choice at the top; its values are found by ``query``, cut by ``regex``."""

    name: str
    query: str
    regex: str = ""
    many: bool = True


class Dashboard(Struct, frozen=True):
    """``uid`` is its address, and stays."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it; panels flow from left to right."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["syncd"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "links": [{"type": "dashboards", "tags": ["syncd"], "title": "syncd", "includeVars": True}],
        "panels": _placed(dashboard.panels),
    }


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    x = y = row_height = 0
    placed = []
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        placed.append(_panel(number, panel, x, y))
        x, row_height = x + panel.width, max(row_height, panel.height)
    return placed


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "mappings": _mappings(panel)},
            "overrides": [],
        },
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.kind == "stat",
                "datasource": DATASOURCE,
            }
            for at, query in enumerate(panel.queries)
        ],
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"}
    return {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["last", "max"]}}


def _mappings(panel: Panel) -> list[dict[str, Any]]:
    words = {str(n): {"text": word, "color": colour} for n, word, colour in panel.words}
    return [{"type": "value", "options": words}] if words else []


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "regex": variable.regex,
        "refresh": 2,  # with each new range of time
        "sort": 4 if variable.name == "run" else 1,  # the newest run, or the first name, on top
        "multi": variable.many,
        "includeAll": variable.many,
    }
