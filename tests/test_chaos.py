"""A short run of the chaos harness: ``make chaos`` is the long one."""

from tests.chaos.run import rehearse


def test_every_promise_holds_while_everything_breaks() -> None:
    report = rehearse(
        seconds=12, jobs=400, seed=20261126, workers=3, fault_every=0.8, is_quiet=True
    )

    assert report.is_clean, f"\n{report}"
    assert report.jobs >= 400
    assert len(report.faults) >= 8, report
