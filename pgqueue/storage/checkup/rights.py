"""Judges of who may do what."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from shlex import quote

from pgqueue.storage.checkup.check import Circumstances, Verdict, check, info, warning
from pgqueue.storage.operation import Row

RIGHTS = "rights"


@check(RIGHTS, fine="as they were made, or none were made")
def roles(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """As `pgqueue roles create` made them?"""
    lacking: dict[tuple[str, str], list[str]] = defaultdict(list)
    for prefix, role, privilege, thing in rows:
        lacking[prefix, role].append(f"{privilege} on {thing}")
    for (prefix, role), what in lacking.items():
        more = f" and {len(what) - 1} more" if len(what) > 1 else ""
        has = "everybody has" if role == "PUBLIC" else f"{role} lacks"
        yield warning(
            f"{has} {what[0]}{more}",
            f"pgqueue roles create --prefix {quote(prefix)}"
            if prefix
            else "SELECT pgqueue.create_roles('');",
            subject=role,
            privileges=what,
        )


@check(RIGHTS, fine="this user may finish jobs in its transactions")
def membership(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """May this user finish jobs?"""
    may_finish, user, role = rows[0]
    if not may_finish:
        fix = f"GRANT {role or 'pgqueue_worker'} TO {user};"
        yield info(
            f"{user} may not finish jobs: transactional handlers cannot run as it",
            fix if role else f"pgqueue roles create  # then: {fix}",
            subject=user,
        )
