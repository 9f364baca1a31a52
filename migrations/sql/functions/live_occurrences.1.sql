-- The tasks that a schedule has made and that have not ended, in the order of their ids: a range, as in first_live.
create function perdure.live_occurrences(key text, since bigint) returns setof bigint
    language sql stable set search_path = pg_catalog, perdure, pg_temp as $$
    select t.id from perdure.tasks as t
    where t.schedule_key between key and key and t.id >= since
        and (select o.task_id from perdure.outcomes as o where o.task_id = t.id limit 1) is null
    order by t.schedule_key, t.id
$$;
