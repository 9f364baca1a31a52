-- Every worker process, for people: alive while its last beat is younger than its lease. Its problem may be
-- that of a singleton that it holds, whose last tick has failed.
create view perdure.worker_states as
select w.id, w.name, w.host, w.pid, w.version, w.started_at, w.heartbeat_at,
    w.heartbeat_at + make_interval(secs => w.lease_seconds) > (select clock_timestamp()) as alive,
    (select coalesce(sum(cardinality(l.task_ids)), 0) from perdure.leases as l where l.worker_id = w.id)::bigint as held,
    cardinality(w.running) as running, w.slots, w.queues, w.names, w.stopping,
    coalesce(w.problem, (
        select string_agg(format('%s: its last tick has failed (%s), %s so far',
            t.name, p.execution_metadata ->> 'problem', p.execution_metadata ->> 'failures'), ', ' order by t.name)
        from perdure.tasks as t join perdure.progress as p on p.task_id = t.id
        where t.id = any (w.running) and starts_with(t.name, 'singleton:') and p.execution_metadata ->> 'problem' is not null)) as problem,
    w.satisfied, w.draining
from perdure.workers as w;
