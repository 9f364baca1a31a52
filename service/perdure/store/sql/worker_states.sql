-- Every worker process, for people: alive while its last beat is younger than its lease.
select w.id, w.name, w.host, w.pid, w.version, w.started_at, w.heartbeat_at,
    w.heartbeat_at + make_interval(secs => w.lease_seconds) > (select clock_timestamp()) as alive,
    (select coalesce(sum(cardinality(l.task_ids)), 0) from perdure.leases as l where l.worker_id = w.id)::bigint as held,
    cardinality(w.running) as running, w.slots, w.queues, w.names, w.stopping, w.problem
from perdure.workers as w order by w.name, w.id
