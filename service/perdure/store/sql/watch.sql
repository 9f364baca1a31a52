-- Tasks without their payloads, by the function, so that a producer may watch its own.
select t.id, t.name, t.queue, t.priority, t.state, t.reason, t.waiting_for, t.attempt, t.failures,
    t.interruptions, t.crashes, t.progress, t.tags, t.unique_key, t.enqueued_by, t.created_at, t.run_at,
    t.due_at, t.started_at, t.finished_at, t.cancel_requested_at, t.worker_id
from unnest(%(ids)s::bigint[]) as i (id)
cross join lateral perdure.task(i.id) as t
order by t.id
