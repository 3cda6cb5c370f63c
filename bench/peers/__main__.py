"""``python -m bench.peers``: pgqueue and its peers in turn, on one server, in one run.

Each through an adapter that is as small as it can be, at the settings that its own documentation
gives for throughput. Every round begins with an empty database; whoever runs a job twice, or not at
all, is out. A slow peer is given fewer jobs: all figures are per second or per job.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from bench import results
from bench.conditions import SETTINGS, conditions
from bench.failure import Missing
from bench.figure import Figure, gather, percentile
from bench.measures import bulk, cost, drain, latency, single
from bench.peers.contender import Contender
from bench.peers.environments import prepare
from bench.peers.registry import PEERS
from bench.peers.stores import PostgresStore, redis
from bench.plots import write_plots
from bench.progress import hush
from bench.report import Report
from bench.setting import Setting
from bench.sizes import TEN_MINUTES, Sizes
from bench.table import table
from bench.usage import Usage
from pgqueue.embedded import EmbeddedPostgres, exit_on_sigterm

CONNECTIONS = (1, 8)
WORKERS = (1, 2)


@click.command()
@click.option("--only", metavar="NAME,...", help="Only these peers (pgqueue is always one).")
@click.option("--jobs", default=TEN_MINUTES.jobs, show_default=True, help="Of a drain.")
@click.option("--singles", default=TEN_MINUTES.singles, show_default=True)
@click.option("--probes", default=TEN_MINUTES.probes, show_default=True)
@click.option("--rounds", default=TEN_MINUTES.rounds, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures, plots.")
@click.option("--keep", is_flag=True, help="Keep this run in bench/results, write RESULTS.md.")
def main(
    only: str | None,
    jobs: int,
    singles: int,
    probes: int,
    rounds: int,
    json_file: Path | None,
    keep: bool,
) -> None:
    """Measure pgqueue and its peers, after installing them under .bench/."""
    exit_on_sigterm()
    names = only.split(",") if only else [peer.name for peer in PEERS]
    unknown = set(names) - {peer.name for peer in PEERS}
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: choose from {_known()}")
    sizes = Sizes(jobs=jobs, singles=singles, probes=probes, rounds=rounds)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres(settings=SETTINGS)).dsn
        setting = Setting(server, sizes)
        report = Report(conditions(server), asdict(sizes))
        contenders = list(_contenders(stack, setting, report, names))
        report.lines = gather("Beside the peers", _rounds(setting, report, contenders))
    hush()
    click.echo("\n" + table("Beside the peers", report.lines))
    if json_file:
        json_file.write_text(report.as_json() + "\n")
        write_plots(report, json_file.parent, prefix=f"{json_file.stem}-")
    if keep:
        results.keep(report, "peers")
    for name, value in report.conditions.items():
        click.echo(f"{name}: {value}")
    for problem in report.problems:
        click.echo(f"NOT MEASURED: {problem}", err=True)


def _known() -> str:
    return ", ".join(peer.name for peer in PEERS)


def _contenders(
    stack: ExitStack, setting: Setting, report: Report, names: Sequence[str]
) -> Iterator[Contender]:
    """Install them; say of each which version it is, or why it is not there."""
    for peer in PEERS:
        if peer.name not in names and peer.packages:
            continue
        setting.say(f"preparing {peer.name}")
        try:
            environment = prepare(peer)
        except Missing as why:
            report.fail(peer.name, why)
            continue
        store = PostgresStore(setting.dsn, peer.left) if peer.left else stack.enter_context(redis())
        told = [environment.version or report.conditions["pgqueue"], peer.notes]
        if peer.share < 1:
            told.append(f"{int(setting.sizes.jobs * peer.share):,} jobs")
        report.conditions[peer.name] = "; ".join(told)
        yield Contender(peer, environment, store)


def _rounds(setting: Setting, report: Report, contenders: Sequence[Contender]) -> Iterator[Figure]:
    """Each in turn, round by round. Who fails is told of, and is not asked again."""
    failed = set()
    for number in range(setting.sizes.rounds):
        for contender in contenders:
            name = contender.peer.name
            if name in failed:
                continue
            try:
                yield from _round(setting, contender, f"{name}, round {number + 1}")
            except Exception as error:  # noqa: BLE001  one peer's failure is not the others'
                report.fail(name, error)
                failed.add(name)


def _round(setting: Setting, contender: Contender, which: str) -> Iterator[Figure]:
    sizes, who, store = setting.sizes, contender.peer.name, contender.store
    jobs = max(int(sizes.jobs * contender.peer.share), 100)
    for workers in WORKERS:
        setting.say(f"{which}: drain with {workers}")
        contender.reset()
        store.settle()
        seconds, cpu, used = contender.bulk(jobs)
        yield Figure(bulk.LINE, who, jobs / seconds, "jobs/s")
        if workers == 1:
            yield from _costs(who, "enqueue", used, cpu, jobs)
        store.settle()
        drained = contender.drain(jobs, workers)
        yield Figure(drain.line(workers), who, jobs / drained.seconds, "jobs/s")
        if workers == 1:
            yield from _costs(who, "drain", drained.used, drained.used.clients, jobs)
    for connections in CONNECTIONS:
        setting.say(f"{which}: single enqueue, {connections} at once")
        contender.reset()
        each = max(sizes.singles // connections, 1)
        rate = each * connections / contender.single(each, connections)
        yield Figure(single.line(connections, "absent"), who, rate, "jobs/s")
    setting.say(f"{which}: latency")
    contender.reset()
    found = contender.latencies(sizes.probes)
    for percent in latency.PERCENTILES:
        value = percentile(found, percent)
        yield Figure(latency.line("idle worker", percent), who, value, "ms")


def _costs(who: str, what: str, used: Usage, clients: float | None, jobs: int) -> Iterator[Figure]:
    if used.wal is not None:
        yield Figure(f"{cost.WAL}, {what}", who, used.wal / jobs, "B/job")
    if used.server is not None and clients is not None:
        seconds = used.server + clients
        yield Figure(cost.CPU.format(what), who, seconds * 1000 / jobs, "ms/job")


if __name__ == "__main__":
    main()
