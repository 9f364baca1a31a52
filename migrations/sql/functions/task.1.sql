-- Everything about one task, in one row; no row for an unknown one, or another producer's. steps are those
-- that are done, by name, with their values.
create function perdure.task(id bigint) returns table (
    id bigint, name text, queue text, priority smallint, state text, reason text, waiting_for text, attempt integer,
    failures integer, interruptions integer, crashes integer, metadata jsonb, execution_metadata jsonb, progress jsonb,
    result jsonb, error jsonb, tags text[], unique_key text, headers jsonb, enqueued_by text, created_at timestamptz,
    run_at timestamptz, due_at timestamptz, started_at timestamptz, finished_at timestamptz,
    cancel_requested_at timestamptz, worker_id bigint, steps jsonb)
    language sql stable security definer set search_path = pg_catalog, perdure, pg_temp as $$
    select s.id, s.name, s.queue, s.priority, s.state, s.reason, s.waiting_for, s.attempt,
        s.failures, s.interruptions, s.crashes, t.metadata, p.execution_metadata, s.progress,
        o.result, o.error, s.tags, s.unique_key, t.headers, s.enqueued_by, s.created_at,
        s.run_at, s.due_at, s.started_at, s.finished_at, s.cancel_requested_at, s.worker_id, p.steps
    from perdure.task_states as s
    join perdure.tasks as t on t.id = s.id
    left join perdure.progress as p on p.task_id = s.id
    left join perdure.outcomes as o on o.task_id = s.id
    where s.id = task.id and perdure.sees(t.enqueued_by)
$$;
