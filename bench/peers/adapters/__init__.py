"""One file a peer: how a job is enqueued, many are, and a worker runs. Nothing is measured here."""
