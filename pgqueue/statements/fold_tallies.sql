-- Fold what workers have told into minutes, hours and days. Returns how many tallies are gone.
SELECT pgqueue.fold_tallies(%(limit)s::bigint)
