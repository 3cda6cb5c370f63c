"""``exporter``: the figures of a database for Prometheus, until it is told to stop."""

import logging
from datetime import timedelta

import click

from pgqueue.cli.database import find_dsn
from pgqueue.cli.params import Duration
from pgqueue.exporter import run
from pgqueue.worker.logs import configure


@click.command(
    epilog="""
\b
Examples:
  pgqueue exporter
  pgqueue exporter --host 0.0.0.0 --interval 30s
  curl http://127.0.0.1:9187/metrics
\b
One for each database is enough, and a login in the role pgqueue_monitor
will do. Workers have figures of their own: pgqueue worker --metrics-port.
Rules and a dashboard ship in the package: pgqueue/_sql/
prometheus-alerts.yml and grafana-dashboard.json.
"""
)
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="PORT", default=9187, show_default=True
)
@click.option(
    "--host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="The address to serve on; figures are not secret, and not protected.",
)
@click.option(
    "--interval",
    type=Duration(),
    metavar="TIME",
    default="5s",
    show_default=True,
    help="Read the database at a scrape, but not again within this time.",
)
@click.option(
    "--most",
    type=click.IntRange(1, 1000),
    metavar="N",
    default=100,
    show_default=True,
    help='So many queues, and so many tasks, have names; the rest is "other".',
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="PGQUEUE_LOG_FORMAT",
)
def exporter(port: int, host: str, interval: timedelta, most: int, log_format: str) -> None:
    """Serve /metrics: how the queues of a database stand, for Prometheus.

    While the database is away it says pgqueue_up 0, and goes on.
    """
    configure(log_format, logging.INFO)
    run(find_dsn(), host=host, port=port, interval=interval.total_seconds(), most=most)
