"""Says with which seed the models run, and gives it to them."""

import pytest

from tests.models.effort import LARGE, Effort, today

pytest.register_assert_rewrite("tests.models.machine")


def _effort(config: pytest.Config) -> Effort:
    given = config.getoption("--hypothesis-seed", None)
    is_large = config.getoption("--hypothesis-profile", None) == LARGE
    return Effort(is_large, today() if given is None else int(given))


def pytest_report_header(config: pytest.Config) -> str:
    effort = _effort(config)
    return f"models: {'large' if effort.is_large else 'small'}, --hypothesis-seed={effort.seed}"


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config) -> Effort:
    return _effort(pytestconfig)
