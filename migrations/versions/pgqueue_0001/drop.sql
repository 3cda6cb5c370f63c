DROP FUNCTION pgqueue.set_alert, pgqueue.evaluate_alerts, pgqueue.job_story,
    pgqueue.why_not_running, pgqueue.why_waiting, pgqueue.reconcile_rollups, pgqueue.sum_again;
DROP VIEW pgqueue.alerts, pgqueue.audit_log, pgqueue.batch_stats, pgqueue.worker_stats,
    pgqueue.unserved_tasks, pgqueue.dead_groups, pgqueue.retries, pgqueue.running_jobs,
    pgqueue.daily_throughput, pgqueue.hourly_throughput, pgqueue.throughput, pgqueue.task_stats,
    pgqueue.queue_stats;
DROP FUNCTION pgqueue.measure_alerts, pgqueue.measure_deaths, pgqueue.measure_backlogs,
    pgqueue.rule_for, pgqueue.latest_verbs, pgqueue.group_dead, pgqueue.find_retrying, pgqueue.find_running,
    pgqueue.find_unserved, pgqueue.waiting_ages, pgqueue.count_queues, pgqueue.waiting_bands,
    pgqueue.horizon, pgqueue.in_words, pgqueue.is_alive, pgqueue.rates, pgqueue.sum_rollups,
    pgqueue.fold_tallies, pgqueue.percentiles, pgqueue.bucket;
DROP AGGREGATE pgqueue.sum_histograms(bigint[]);
DROP FUNCTION pgqueue.add_histograms;
DROP TABLE pgqueue.alert_clock, pgqueue.alert_states, pgqueue.alert_rules, pgqueue.rollups,
    pgqueue.tallies;
DROP VIEW pgqueue.expired_partitions, pgqueue.all_jobs;
DROP TRIGGER jobs_on_dead ON pgqueue.jobs;
DROP TRIGGER jobs_batch_death ON pgqueue.jobs;
DROP FUNCTION pgqueue.retry_batch, pgqueue.cancel_batch, pgqueue.close_batches, pgqueue.close_batch,
    pgqueue.enqueue_stored, pgqueue.set_queue, pgqueue.adopt, pgqueue.resume, pgqueue.pause,
    pgqueue.edit, pgqueue.discard, pgqueue.retry, pgqueue.cancel, pgqueue.why_not, pgqueue.record_verb, pgqueue.forget_partition,
    pgqueue.make_partitions, pgqueue.make_partition, pgqueue.days_needed, pgqueue.attempt_expiry,
    pgqueue.expiry, pgqueue.count_death, pgqueue.enqueue_on_dead, pgqueue.last_attempts,
    pgqueue.enqueue, pgqueue.enqueue_one, pgqueue.enqueue_many, pgqueue.check_jobs,
    pgqueue.fingerprint, pgqueue.milliseconds, pgqueue.ring_waiters, pgqueue.ring, pgqueue.bell,
    pgqueue.revision;
DROP TABLE pgqueue.progress, pgqueue.batch_outcomes, pgqueue.batches, pgqueue.home, pgqueue.audit,
    pgqueue.workers, pgqueue.queues, pgqueue.tasks, pgqueue.job_keys, pgqueue.attempts,
    pgqueue.finished_jobs, pgqueue.jobs;
