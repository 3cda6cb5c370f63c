DROP VIEW pgqueue.expired_partitions, pgqueue.all_jobs;
DROP TRIGGER jobs_on_dead ON pgqueue.jobs;
DROP TRIGGER jobs_batch_death ON pgqueue.jobs;
DROP FUNCTION pgqueue.adopt, pgqueue.resume, pgqueue.pause, pgqueue.edit, pgqueue.discard,
    pgqueue.retry, pgqueue.cancel, pgqueue.why_not, pgqueue.record_verb, pgqueue.forget_partition,
    pgqueue.make_partitions, pgqueue.make_net, pgqueue.make_partition, pgqueue.days_needed, pgqueue.attempt_expiry,
    pgqueue.expiry, pgqueue.count_death, pgqueue.enqueue_on_dead, pgqueue.last_attempts,
    pgqueue.enqueue, pgqueue.enqueue_one, pgqueue.enqueue_many, pgqueue.check_jobs,
    pgqueue.fingerprint, pgqueue.milliseconds, pgqueue.ring_waiters, pgqueue.ring, pgqueue.bell,
    pgqueue.revision;
DROP TABLE pgqueue.progress, pgqueue.batch_outcomes, pgqueue.batches, pgqueue.home, pgqueue.audit,
    pgqueue.workers, pgqueue.queues, pgqueue.tasks, pgqueue.job_keys, pgqueue.attempts,
    pgqueue.finished_jobs, pgqueue.jobs;
