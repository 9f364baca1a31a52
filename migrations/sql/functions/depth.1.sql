-- Tasks of a queue that are due or running.
create function perdure.depth(queue_name text) returns bigint
    language sql stable set search_path = pg_catalog, perdure, pg_temp as $$
    select (select count(*) from perdure.ready as r
            where r.lane in (select l.id from perdure.lanes as l where l.queue = queue_name))
        + (select count(*) from perdure.ready as r
            join perdure.tasks as t on t.id = r.task_id
            left join perdure.task_types as y on y.name = t.name
            where r.lane = 0 and coalesce(t.queue, y.queue, 'default') = queue_name)
        + (select count(*) from (
                select unnest(l.task_ids) as task_id from perdure.leases as l
                union all
                select w.task_id from perdure.waiting as w
                where w.due_at <= (select clock_timestamp()) and w.blockers = 0
            ) as held
            join perdure.tasks as t on t.id = held.task_id
            left join perdure.task_types as y on y.name = t.name
            where coalesce(t.queue, y.queue, 'default') = queue_name)
$$;
