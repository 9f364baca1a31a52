-- The last part of settle for a task that ends: outcome, the task to enqueue when it is exhausted,
-- left-over mail, its instance, followers.
create function perdure.finish_run(task bigint, worker bigint, move jsonb) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    goal jsonb := move -> 'to';
    last integer := coalesce((move ->> 'attempt')::integer, (select p.attempt from perdure.progress as p where p.task_id = task), 0);
begin
    insert into perdure.outcomes (task_id, attempt, state, kind, started_at, cancel_requested_at, worker_id, result, error)
    select task, last, goal ->> 'state', goal ->> 'kind',
        to_timestamp((move ->> 'started_at')::double precision),
        (select min(m.posted_at) from perdure.mail as m where m.task_id = task and m.kind in ('cancel', 'replaced')),
        worker, nullif(goal -> 'result', 'null'), nullif(goal -> 'error', 'null');
    if move ->> 'exhausted' is not null then
        insert into perdure.tasks (name, metadata)
        select move ->> 'exhausted',
            case when octet_length(m.whole::text) <= perdure.setting('metadata_bytes')
                    and not jsonb_path_exists(m.whole, 'strict $.**{65}') then m.whole
                else m.whole - 'metadata' - 'error' || '{"shortened": true}' end
        from perdure.tasks as t
        left join perdure.progress as p on p.task_id = t.id
        cross join lateral (select jsonb_build_object(
            'task_id', t.id, 'name', t.name, 'metadata', t.metadata, 'error', goal -> 'error',
            'failures', coalesce(p.failures, 0), 'attempt', last) as whole) as m
        where t.id = task;
    end if;
    perform perdure.forget_mail(task);
    perform perdure.hand_over(task);
    if perdure.unblock(task) then
        perform pg_notify(perdure.channel() || '_mail', '');
    end if;
end $$;
