-- Why no live worker takes tasks of a lane, or null if one does.
create function perdure.unserved(queue text, name text, requires text[]) returns text
    language sql stable security definer set search_path = pg_catalog, perdure, pg_temp as $$
    with live as (
        select w.queues = '{}' or unserved.queue = any (w.queues) as serves, w.satisfied
        from perdure.workers as w
        where not w.stopping and unserved.name = any (w.names)
            and w.heartbeat_at + make_interval(secs => w.lease_seconds) > (select clock_timestamp())
    )
    select case
        when not exists (select from live) then 'no live worker knows ' || unserved.name
        when not exists (select from live as v where v.serves) then 'no live worker serves queue ' || unserved.queue
        when not exists (select from live as v where v.serves and unserved.requires <@ v.satisfied)
            then 'no live worker satisfies ' || coalesce((
                select string_agg(n, ', ' order by n) from unnest(unserved.requires) as n
                where not exists (select from live as v where v.serves and n = any (v.satisfied))
            ), array_to_string(unserved.requires, ' and ') || ' at once')
    end
$$;
