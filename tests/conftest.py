"""Every test that wants a database gets a real one from tests/postgres.py."""

import signal

pytest_plugins = ["tests.postgres", "tests.models.plugin"]

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them every
# process that they start and want to interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
