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
    if dry_run is not false then
        return query
        select count(*) filter (where s.state not in ('running', 'completed', 'failed', 'cancelled')),
            count(*) filter (where s.state = 'running')
        from perdure.task_states as s where s.id = any (ids);
        return;
    end if;
    return query
    select count(*) filter (where a.answer = 'cancelled'), count(*) filter (where a.answer = 'requested')
    from (select perdure.cancel(i) as answer from unnest(ids) as i) as a;
    insert into perdure.audit (action, details) values ('cancel_where', jsonb_strip_nulls(jsonb_build_object(
        'name', cancel_where.name, 'state', cancel_where.state, 'tag', cancel_where.tag,
        'unique_key', cancel_where.unique_key, 'queue', cancel_where.queue)));
end $$;
