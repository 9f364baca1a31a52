-- The oldest task that a schedule has made and that has not ended, from an id on.
create function perdure.first_live(key text, since bigint) returns bigint
    language sql stable as $$
    select t.id from perdure.tasks as t
    where t.schedule_key = key and t.id >= since
        and (select o.task_id from perdure.outcomes as o where o.task_id = t.id limit 1) is null
    order by t.id limit 1
$$;
