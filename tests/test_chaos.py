"""A short run of the chaos harness: ``make chaos`` is the long one."""

from tests.chaos.run import Plan, rehearse


def test_every_promise_holds_while_everything_breaks() -> None:
    plan = Plan(seed=20261126, seconds=12, jobs=400, workers=3, every=0.8, is_quiet=True)
    report = rehearse(plan)

    assert report.is_clean, f"\n{report}"
    assert report.jobs >= 400
    assert len(report.faults) >= 8, report
