-- A supervisor has seen its child die: recovery need not wait for the lease to run out.
update perdure.workers set heartbeat_at = '-infinity'
where host = %(host)s::text and pid = %(pid)s::integer
