-- Everything about one task: see the function.
select t.id, t.name, t.queue, t.priority, t.state, t.reason, t.waiting_for, t.attempt, t.failures,
    t.interruptions, t.crashes, t.metadata, t.execution_metadata, t.progress, t.result, t.error, t.tags,
    t.unique_key, t.headers, t.enqueued_by, t.created_at, t.run_at, t.due_at, t.started_at, t.finished_at,
    t.cancel_requested_at, t.worker_id, t.steps
from perdure.task(%(id)s::bigint) as t
