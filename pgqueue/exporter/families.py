"""What the exporter tells: figures of a whole database, each of them once, however many workers
there are. Each worker's own are ``pgqueue_worker_...``."""

from pgqueue.metrics import Across, Family, counter, gauge, histogram

MAX = Across.MAX

UP = gauge(
    "pgqueue_up", "Whether the database could be read; if not, only exporter figures follow."
)
READS = counter("pgqueue_exporter_reads", "How often the database was read, or was to be.")
FAILURES = counter("pgqueue_exporter_failures", "How often it could not be.")
TOOK = gauge("pgqueue_exporter_read_seconds", "How long the last reading took.")
FOLDED = gauge(
    "pgqueue_exporter_folded",
    'Values beyond the limit of --most, together under the name "other".',
    "label",
)

DEPTH = gauge("pgqueue_queue_depth", "Jobs that are not over, by state.", *("queue", "state"))
DEPTH_LIMITED = gauge(
    "pgqueue_queue_depth_limited",
    "1 if the count of that state stopped at its limit: there are at least so many.",
    *("queue", "state"),
    across=MAX,
)
DELAY = gauge(
    "pgqueue_queue_delay_seconds",
    "Average wait of jobs started in the last 5 minutes, or of those that wait, if that is longer.",
    "queue",
    across=MAX,
)
OLDEST = gauge(
    "pgqueue_queue_oldest_waiting_seconds",
    "For how long the oldest available job could have been running.",
    "queue",
    across=MAX,
)
PAUSED = gauge("pgqueue_queue_paused", "1 if the queue is paused.", "queue", across=MAX)
QUEUE_WORKERS = gauge("pgqueue_queue_workers", "Living workers that serve the queue.", "queue")
QUEUE_SLOTS = gauge("pgqueue_queue_slots", "Slots of those workers.", "queue")

STARTED = counter("pgqueue_attempts_started", "Attempts that were begun.", *("queue", "task"))
ATTEMPTS = counter(
    "pgqueue_attempts",
    "Attempts that ended, by what they came to; lost: rescued from a worker that vanished.",
    *("queue", "task", "outcome"),
)
RETRIES = counter("pgqueue_retries", "Jobs put back after a failure.", *("queue", "task"))
DEATHS = counter("pgqueue_deaths", "Jobs that died.", *("queue", "task"))
WAIT = histogram(
    "pgqueue_wait_seconds", "From when a job could be started until it was.", *("queue", "task")
)
RUN = histogram(
    "pgqueue_run_seconds",
    "How long attempts took that succeeded, failed, timed_out or crashed.",
    *("queue", "task"),
)

ALERT = gauge(
    "pgqueue_alert_firing",
    "1 for an alert that fires, 0 for one that is watched.",
    *("alert", "queue", "subject", "severity"),
    across=MAX,
)

WORKERS = gauge(
    "pgqueue_workers", "Workers: alive, or silent, which vanished within a day.", "state"
)
LISTENING = gauge(
    "pgqueue_workers_listening", "Living workers that hear when a job becomes available."
)
BATCHES = gauge("pgqueue_batches_open", "Batches under way, counted up to 1,000.")
BATCH_JOBS = gauge("pgqueue_batch_jobs_pending", "Jobs that are left to run in them.")
SCHEDULES = gauge(
    "pgqueue_schedules", "Schedules: enabled, disabled, or broken: not to be understood.", "state"
)
LATE = gauge("pgqueue_schedule_late_seconds", "By how much the latest schedule is behind.")
HORIZON = gauge(
    "pgqueue_horizon_held_seconds",
    "For how long the oldest snapshot has kept dead rows from being cleaned up.",
)

FAMILIES: tuple[Family, ...] = (
    *(UP, READS, FAILURES, TOOK, FOLDED),
    *(DEPTH, DEPTH_LIMITED, DELAY, OLDEST, PAUSED, QUEUE_WORKERS, QUEUE_SLOTS),
    *(STARTED, ATTEMPTS, RETRIES, DEATHS, WAIT, RUN),
    *(ALERT, WORKERS, LISTENING, BATCHES, BATCH_JOBS, SCHEDULES, LATE, HORIZON),
)
"""All of them."""
