"""The table of remedies: what each kind of error means for a worker."""

import psycopg
import pytest
from psycopg import errors

from pgqueue.errors import UnknownTask
from pgqueue.storage.sqlstate import Remedy, is_refusal, remedy


class NoPartition(errors.CheckViolation):
    def __str__(self) -> str:
        return 'no partition of relation "finished_jobs" found for row'


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ConnectionFailure(), Remedy.RECONNECT),  # 08
        (errors.TooManyConnections(), Remedy.RECONNECT),  # 53
        (errors.AdminShutdown(), Remedy.RECONNECT),  # 57
        (errors.QueryCanceled(), Remedy.RECONNECT),
        (errors.IoError(), Remedy.RECONNECT),  # 58
        (errors.SerializationFailure(), Remedy.RECONNECT),  # 40
        (errors.DeadlockDetected(), Remedy.RECONNECT),
        (errors.LockNotAvailable(), Remedy.RECONNECT),  # 55P03
        (errors.ReadOnlySqlTransaction(), Remedy.RECONNECT),  # 25006
        (errors.IdleInTransactionSessionTimeout(), Remedy.RECONNECT),  # 25P03
        (psycopg.OperationalError("server closed the connection"), Remedy.RECONNECT),
        (psycopg.InterfaceError("the connection is closed"), Remedy.RECONNECT),
        (TimeoutError(), Remedy.RECONNECT),
        (ConnectionResetError(), Remedy.RECONNECT),
        (errors.FeatureNotSupported(), Remedy.REPREPARE),  # 0A000
        (errors.InvalidSqlStatementName(), Remedy.REPREPARE),  # 26000
        (errors.DuplicatePreparedStatement(), Remedy.REPREPARE),  # 42P05
        (NoPartition(), Remedy.PARTITION),
        (errors.CheckViolation(), Remedy.BISECT),  # 23
        (errors.UntranslatableCharacter(), Remedy.BISECT),  # 22
        (errors.ProgramLimitExceeded(), Remedy.BISECT),  # 54
        (psycopg.DataError("a NUL"), Remedy.BISECT),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate"), Remedy.BISECT),
        (errors.UndefinedTable(), Remedy.CONFIGURE),  # 42
        (errors.InsufficientPrivilege(), Remedy.CONFIGURE),
        (errors.InvalidPassword(), Remedy.CONFIGURE),  # 28
        (errors.InvalidCatalogName(), Remedy.CONFIGURE),  # 3D
        (errors.InvalidSchemaName(), Remedy.CONFIGURE),  # 3F
        (errors.InternalError_(), Remedy.BUG),  # XX
        (errors.InvalidTransactionState(), Remedy.BUG),  # 25, but for the two above
        (psycopg.ProgrammingError("the query has 0 placeholders"), Remedy.BUG),
        (UnknownTask("t", []), Remedy.BUG),
        (KeyError("x"), Remedy.BUG),
    ],
    ids=lambda value: value.name if isinstance(value, Remedy) else type(value).__name__,
)
def test_each_error_has_its_remedy(error: BaseException, expected: Remedy) -> None:
    assert remedy(error) is expected


def test_every_sqlstate_that_psycopg_knows_has_a_remedy() -> None:
    """Only the classes of what can be no fault of a network, a value or a setting are bugs."""
    bugs = {code[:2] for code, error in errors._sqlcodes.items() if remedy(error()) is Remedy.BUG}
    assert not bugs & {"08", "22", "23", "28", "3D", "3F", "40", "42", "53", "54", "57", "58"}
    assert "XX" in bugs


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ('FATAL:  password authentication failed for user "ann"', True),
        ('FATAL:  database "shop" does not exist', True),
        ('FATAL:  role "ann" does not exist', True),
        ("no pg_hba.conf entry for host", True),
        ("fe_sendauth: no password supplied", True),
        ("FATAL:  the database system is starting up", False),
        ("Connection refused", False),
    ],
)
def test_a_server_that_says_no_is_told_from_one_that_is_not_there(said: str, refused: bool) -> None:
    assert is_refusal(psycopg.OperationalError(said)) is refused
