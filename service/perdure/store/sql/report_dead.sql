-- A supervisor has seen its child die: recovery need not wait for the lease to run out. The last beat
-- stays as it is: by its time recovery tells what had started from what was only prefetched.
update perdure.workers set lease_seconds = 0
where host = %(host)s::text and pid = %(pid)s::integer
