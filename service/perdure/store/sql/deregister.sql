-- Says that this worker has ended: it is dead by its own word, and `recover` takes its row away next.
update perdure.workers set lease_seconds = 0 where id = %(worker)s::bigint
