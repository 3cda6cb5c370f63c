"""What a worker tells of itself, or a parent of its members. The names are not the exporter's: its
figures are those of the whole database, and must not be added to these."""

from pgqueue.metrics import Across, Family, counter, gauge, histogram

MAX, MIN = Across.MAX, Across.MIN

PROCESSES = gauge(
    "pgqueue_worker_processes",
    "Worker processes here: running, and answering: whose figures are new in this scrape.",
    "state",
)
EXITS = counter("pgqueue_worker_exits", "Processes of --processes that ended, and were replaced.")
SLOTS = gauge("pgqueue_worker_slots", "How many jobs of the queue run here at once.", "queue")
BUSY = gauge("pgqueue_worker_busy", "Slots that are taken.", "queue")
STUCK = gauge("pgqueue_worker_stuck", "Of those, by threads that outlived their timeout.", "queue")
PREFETCHED = gauge(
    "pgqueue_worker_prefetched", "Jobs that were claimed and wait for a slot here.", "queue"
)
HELD = gauge("pgqueue_worker_held", "Jobs in hand: running, waiting here, or not written yet.")
UNWRITTEN = gauge(
    "pgqueue_worker_unwritten", "Of those, outcomes that are not in the database yet."
)

STARTED = counter(
    "pgqueue_worker_attempts_started", "Attempts that were begun here.", *("queue", "task")
)
ATTEMPTS = counter(
    "pgqueue_worker_attempts",
    "Attempts that ended here, by what they came to.",
    *("queue", "task", "outcome"),
)
RETRIES = counter("pgqueue_worker_retries", "Jobs put back after a failure.", *("queue", "task"))
DEATHS = counter("pgqueue_worker_deaths", "Jobs that died of an attempt here.", *("queue", "task"))
WAIT = histogram(
    "pgqueue_worker_wait_seconds",
    "From when a job could be started until it was.",
    *("queue", "task"),
)
RUN = histogram(
    "pgqueue_worker_run_seconds",
    "How long attempts took that succeeded, failed, timed_out or crashed.",
    *("queue", "task"),
)
OVER_TARGET = counter(
    "pgqueue_worker_over_target", "Attempts that took longer than their target_runtime.", "task"
)
LOST = counter(
    "pgqueue_worker_leases_lost", "Outcomes that were void because the lease had been lost."
)
RESCUED = counter("pgqueue_worker_rescued", "Jobs taken back here from workers that vanished.")

ROUND_TRIP = histogram(
    "pgqueue_worker_pump_seconds", "Writing outcomes and claiming jobs: one transaction each."
)
LAG = histogram(
    "pgqueue_worker_loop_lag_seconds",
    "By how much the event loop was late for an alarm, four times a second.",
)
CURSORS = gauge(
    "pgqueue_worker_claim_past_head",
    "1 while claims go past a slow head of their queues.",
    across=MAX,
)
BOUND = gauge(
    "pgqueue_worker_claim_bound_seconds",
    "The longest that a job behind such a cursor waits to be found: the last whole sweep.",
    across=MAX,
)
LISTENER = gauge(
    "pgqueue_worker_listener_up",
    "1 if it is heard when a job becomes available; otherwise it is polled for.",
    across=MIN,
)
CONNECTED = gauge(
    "pgqueue_worker_connected",
    "1 if the connection is open: pump, heartbeat, maintenance.",
    "connection",
    across=MIN,
)
RENEWED = gauge(
    "pgqueue_worker_heartbeat_age_seconds", "Since leases were last renewed.", across=MAX
)

FAMILIES: tuple[Family, ...] = (
    *(PROCESSES, EXITS, SLOTS, BUSY, STUCK, PREFETCHED, HELD, UNWRITTEN),
    *(STARTED, ATTEMPTS, RETRIES, DEATHS, WAIT, RUN, OVER_TARGET, LOST, RESCUED),
    *(ROUND_TRIP, LAG, CURSORS, BOUND, LISTENER, CONNECTED, RENEWED),
)
"""All of them."""
