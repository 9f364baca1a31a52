-- What happened to a task, in order of time: created, every run with its start and what became of it, what
-- was done to it, signals that are kept or came too late, the outcome. A start is known by a worker's idea of
-- the database's clock, which may be a little late: no run is shown to have begun after its end.
create function perdure.history(id bigint) returns table (
    at timestamptz, event text, attempt integer, actor text, worker_id bigint, details jsonb)
    language sql stable security definer set search_path = pg_catalog, perdure, pg_temp as $$
    with task as materialized (
        select s.id, s.created_at, s.enqueued_by, s.started_at, s.finished_at, s.attempt, s.worker_id
        from perdure.task_states as s where s.id = history.id and perdure.sees(s.enqueued_by)),
    events (at, event, attempt, actor, worker_id, details) as (
        select t.created_at, 'created', null::integer, t.enqueued_by, null::bigint, null::jsonb from task as t
        union all
        select least(t.started_at, t.finished_at), 'started', t.attempt, null, t.worker_id, null
        from task as t where t.started_at is not null
        union all
        select least(a.started_at, a.ended_at), 'started', a.attempt, null, a.worker_id, null
        from task as t join perdure.attempts as a on a.task_id = t.id where a.started_at is not null
        union all
        select a.ended_at, a.kind, a.attempt, null, a.worker_id,
            jsonb_strip_nulls(jsonb_build_object('reason', a.reason, 'error', a.error))
        from task as t join perdure.attempts as a on a.task_id = t.id
        union all
        select u.at, u.action, null, nullif(u.actor, ''), null, u.details
        from task as t join perdure.audit as u on u.task_id = t.id
        union all
        select m.posted_at, 'signal_kept', null, m.posted_by, null, m.body
        from task as t join perdure.mail as m on m.task_id = t.id where m.kind = 'proceed'
        union all
        select o.finished_at, o.state, o.attempt, null, o.worker_id, jsonb_strip_nulls(jsonb_build_object('kind', o.kind))
        from task as t join perdure.outcomes as o on o.task_id = t.id)
    select e.at, e.event, e.attempt, e.actor, e.worker_id, e.details
    from events as e
    order by e.at, e.attempt nulls first, e.event <> 'started'
$$;
