-- What happened to a task, in order of time: created, every run that did not end it, what operators
-- did, signals that came too late, the outcome.
create function perdure.history(id bigint) returns table (
    at timestamptz, event text, attempt integer, actor text, worker_id bigint, details jsonb)
    language sql stable security definer set search_path = pg_catalog, perdure, pg_temp as $$
    with task as materialized (
        select t.id, t.created_at, t.enqueued_by from perdure.tasks as t
        where t.id = history.id and perdure.sees(t.enqueued_by))
    select t.created_at, 'created', null::integer, t.enqueued_by, null::bigint, null::jsonb from task as t
    union all
    select a.ended_at, a.kind, a.attempt, null, a.worker_id,
        jsonb_strip_nulls(jsonb_build_object('reason', a.reason, 'started_at', a.started_at, 'error', a.error))
    from task as t join perdure.attempts as a on a.task_id = t.id
    union all
    select u.at, u.action, null, u.actor, null, u.details
    from task as t join perdure.audit as u on u.task_id = t.id
    union all
    select o.finished_at, o.state, o.attempt, null, o.worker_id,
        jsonb_strip_nulls(jsonb_build_object('kind', o.kind, 'started_at', o.started_at))
    from task as t join perdure.outcomes as o on o.task_id = t.id
    order by 1, 3 nulls first
$$;
