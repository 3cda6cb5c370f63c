DROP FUNCTION pgqueue.stop_clock;
DROP VIEW pgqueue.schedule_status;
DROP TRIGGER schedules_change ON pgqueue.schedules;
DROP FUNCTION pgqueue.run_schedule_now, pgqueue.unschedule, pgqueue.disable_schedule,
    pgqueue.enable_schedule, pgqueue.record_schedule_verb, pgqueue.sync_schedules,
    pgqueue.save_schedules, pgqueue.run_queued, pgqueue.tick, pgqueue.is_under_way,
    pgqueue.enqueue_scheduled, pgqueue.definition, pgqueue.note_change;
DROP TABLE pgqueue.schedule_gaps, pgqueue.ticks, pgqueue.schedules;
DROP VIEW pgqueue.expired_partitions, pgqueue.all_jobs;
DROP TRIGGER jobs_on_dead ON pgqueue.jobs;
DROP TRIGGER jobs_batch_death ON pgqueue.jobs;
DROP FUNCTION pgqueue.archive, pgqueue.error_fingerprint, pgqueue.check_finish, pgqueue.finish,
    pgqueue.backoff, pgqueue.extend, pgqueue.fetch, pgqueue.check_lease;
DROP FUNCTION pgqueue.retry_batch, pgqueue.cancel_batch, pgqueue.close_batches, pgqueue.close_batch,
    pgqueue.enqueue_stored, pgqueue.set_queue, pgqueue.adopt, pgqueue.resume, pgqueue.pause,
    pgqueue.edit, pgqueue.discard, pgqueue.retry, pgqueue.cancel, pgqueue.why_not,
    pgqueue.record_verb, pgqueue.forget_partition,
    pgqueue.make_partitions, pgqueue.make_partition, pgqueue.days_needed, pgqueue.attempt_expiry,
    pgqueue.expiry, pgqueue.count_death, pgqueue.enqueue_on_dead, pgqueue.last_attempts,
    pgqueue.enqueue, pgqueue.enqueue_one, pgqueue.enqueue_many, pgqueue.check_jobs,
    pgqueue.fingerprint, pgqueue.milliseconds, pgqueue.ring_waiters, pgqueue.ring, pgqueue.bell,
    pgqueue.revision;
DROP TABLE pgqueue.progress, pgqueue.batch_outcomes, pgqueue.batches, pgqueue.home, pgqueue.audit,
    pgqueue.workers, pgqueue.queues, pgqueue.tasks, pgqueue.job_keys, pgqueue.attempts,
    pgqueue.finished_jobs, pgqueue.jobs;
