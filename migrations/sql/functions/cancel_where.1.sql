-- Cancels all that match, rows locked in id order; dry_run (null is yes) only counts. At least one filter.
-- What has ended cannot be cancelled, and is not looked for.
create function perdure.cancel_where(
    name text default null, state text default null, tag text default null, unique_key text default null,
    queue text default null, dry_run boolean default false
) returns table (cancelled bigint, requested bigint)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    ids bigint[] := case when cancel_where.state in ('completed', 'failed', 'cancelled') then '{}'
        else perdure.matching(cancel_where.name, cancel_where.state, cancel_where.tag,
            cancel_where.unique_key, cancel_where.queue, null, null) end;
begin
    -- No task is looked at for whose it is: producers may not call this.
    if dry_run is not false then
        return query
        select count(*) filter (where s.state not in ('running', 'completed', 'failed', 'cancelled')),
            count(*) filter (where s.state = 'running')
        from perdure.task_states as s where s.id = any (ids);
        return;
    end if;
    return query
    with withdrawn as materialized (
        select l.task_id, clock_timestamp() as asked_at,
            perdure.withdraw(l.task_id, 'requested', l.place = 'lease') as answer
        from perdure.lock_tasks(ids) as l),
    noted as (
        insert into perdure.audit (at, action, task_id)
        select w.asked_at, 'cancel', w.task_id from withdrawn as w where w.answer in ('cancelled', 'requested'))
    select count(*) filter (where w.answer = 'cancelled'), count(*) filter (where w.answer = 'requested')
    from withdrawn as w;
    insert into perdure.audit (action, details) values ('cancel_where', jsonb_strip_nulls(jsonb_build_object(
        'name', cancel_where.name, 'state', cancel_where.state, 'tag', cancel_where.tag,
        'unique_key', cancel_where.unique_key, 'queue', cancel_where.queue)));
end $$;
