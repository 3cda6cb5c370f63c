"""What makes a measure void."""


class Void(Exception):
    """The work was not what it should have been, so its speed means nothing."""


class Missing(Exception):
    """Something to measure against cannot be had here; says why."""


def require(condition: bool, problem: str) -> None:
    if not condition:
        raise Void(problem)
