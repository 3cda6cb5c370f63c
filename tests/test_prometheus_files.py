"""The rules and the dashboard that ship: about metrics that there are, and right at the edges."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgqueue.exporter import families as of_database
from pgqueue.metrics import Family
from pgqueue.metrics.family import Kind
from pgqueue.worker import families as of_workers
from tests.scraping import NO_PROMTOOL, PROMTOOL, promtool

SQL = Path(__file__).parents[1] / "sql"
RULES = SQL / "prometheus-alerts.yml"
DASHBOARD = json.loads((SQL / "grafana-dashboard.json").read_text())
VARIABLES = {"$__rate_interval": "5m", "$queue": "q"}

SELECTOR = re.compile(r"\b(pgqueue_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
GROUPING = re.compile(r"\bby\s*\(([^)]*)\)")
COUNTED = re.compile(r"\b(rate|increase)\(\s*(pgqueue_\w+)")


def names(family: Family) -> set[str]:
    """The names of its figures, as test_exporter and test_worker_metrics find them told."""
    match family.kind:
        case Kind.COUNTER:
            return {f"{family.name}_total"}
        case Kind.GAUGE:
            return {family.name}
        case Kind.HISTOGRAM:
            return {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}


TOLD: dict[str, Family] = {
    name: family
    for family in (*of_database.FAMILIES, *of_workers.FAMILIES)
    for name in names(family)
}


def panels() -> Iterator[dict[str, Any]]:
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def expressions() -> list[tuple[str, str]]:
    """Every expression that ships, and where it is."""
    rules = re.findall(
        r"- alert: (\w+)\n +expr: (?:\|\n)?(.+?)\n +(?:for|labels):", RULES.read_text(), re.DOTALL
    )
    shown = [
        (f"panel {panel['title']}", target["expr"])
        for panel in panels()
        for target in panel["targets"]
    ]
    return [*rules, *shown]


def test_every_rule_is_among_them() -> None:
    rules = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(rules) >= 6
    assert [where for where, _ in expressions()][: len(rules)] == rules


def problems(expression: str) -> list[str]:
    """What an expression asks for that there is not."""
    found = []
    there = set()
    for name, matchers in SELECTOR.findall(expression):
        if name not in TOLD:
            found.append(f"no metric {name}")
            continue
        labels = {*TOLD[name].labels, *(["le"] if name.endswith("_bucket") else [])}
        there |= labels
        found += [
            f"{name} has no {label}" for label in MATCHER.findall(matchers) if label not in labels
        ]
    for group in GROUPING.findall(expression):
        # Prometheus adds the instance itself.
        wanted = {label.strip() for label in group.split(",")} - {"instance"}
        found += [f"nothing has {label}" for label in sorted(wanted - there)]
    for function, name in COUNTED.findall(expression):
        if name in TOLD and TOLD[name].kind is Kind.GAUGE:
            found.append(f"{function} of the gauge {name}")
    return found


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_expression_is_about_metrics_and_labels_that_there_are(
    where: str, expression: str
) -> None:
    assert SELECTOR.search(expression), "about nothing"
    assert problems(expression) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "pgqueue_queue_length",
        "pgqueue_attempts",
        'pgqueue_queue_depth{stat="available"}',
        "sum by (task) (pgqueue_queue_depth)",
        "sum by (le) (pgqueue_run_seconds_sum)",
        "rate(pgqueue_queue_depth[5m])",
    ],
)
def test_an_expression_about_anything_else_would_be_found(wrong: str) -> None:
    assert problems(wrong)


def test_everything_that_is_told_can_be_seen_on_the_dashboard_or_is_there_for_a_reason() -> None:
    shown = {name for _, text in expressions() for name, _ in SELECTOR.findall(text)}
    unseen = {family.name for family in set(TOLD.values()) if not names(family) & shown}
    # What a worker tells of its attempts is what the exporter tells of all of them.
    assert unseen == {
        *("pgqueue_queue_depth_limited", "pgqueue_exporter_reads"),
        *("pgqueue_worker_attempts", "pgqueue_worker_attempts_started", "pgqueue_worker_retries"),
        *("pgqueue_worker_deaths", "pgqueue_worker_wait_seconds", "pgqueue_worker_run_seconds"),
    }


def test_the_dashboard_has_the_four_metrics_and_the_alerts_and_asks_for_a_queue() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows[0] == "Alerts"
    titles = {panel["title"] for panel in panels()}
    assert {
        *("Queue length", "In process", "Failure rate", "Average processing time"),
        *("Critical", "Warnings", "What fires"),
    } <= titles
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "queue"}
    assert problems(variables["queue"]["definition"].replace("label_values", "")) == []
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            # A queue's figures are those of the queue that was asked for.
            of_a_queue = [
                matchers
                for name, matchers in SELECTOR.findall(target["expr"])
                if "queue" in TOLD[name].labels
            ]
            assert all("$queue" in matchers for matchers in of_a_queue), panel["title"]


def test_panels_lie_beside_each_other_and_not_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMTOOL)
def test_promtool_understands_the_rules_and_they_fire_at_their_boundaries() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(Path(__file__).with_name("prometheus-alerts.test.yml")))


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMTOOL)
def test_promtool_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = []
    for number, (_, expression) in enumerate(expressions()):
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        rules.append({"record": f"shown:{number}", "expr": expression})
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))
