-- Tasks that are not in exactly one place, or ready in a lane that does not exist, in the ranges of
-- ids in which anything is live: what doctor asks. The view misplaced_tasks says of the whole ledger
-- which are not in one place, and reads all of it.
create function perdure.misplaced(at_most integer default 100) returns table (task_id bigint, places text[])
    language sql stable security definer set search_path = pg_catalog, perdure, pg_temp as $$
    with since as materialized (
        select min(x.id) / 100000000 * 100000000 as id from (
            select min(r.task_id) as id from perdure.ready as r
            union all select min(w.task_id) from perdure.waiting as w
            union all select min(i) from perdure.leases as l cross join unnest(l.task_ids) as i
            union all select s.last_value from perdure.tasks_id_seq as s
        ) as x
    ), placed as (
        select p.task_id, array_agg(p.place order by p.place) as places from (
            select r.task_id, case when n.id is null and r.lane <> 0 then 'a lane that is gone' else 'ready' end as place
                from perdure.ready as r left join perdure.lanes as n on n.id = r.lane
            union all select i, 'lease' from perdure.leases as l cross join unnest(l.task_ids) as i
            union all select w.task_id, 'waiting' from perdure.waiting as w
            union all select o.task_id, 'outcomes' from perdure.outcomes as o
                where o.task_id >= (select s.id from since as s)
        ) as p group by p.task_id
    )
    select coalesce(t.id, p.task_id),
        case when t.id is null then array_replace(p.places, 'a lane that is gone', 'ready') else coalesce(p.places, '{}') end
    from (select k.id from perdure.tasks as k where k.id >= (select s.id from since as s)) as t
    full join placed as p on p.task_id = t.id
    where t.id is null or p.task_id is null or cardinality(p.places) <> 1 or p.places = '{a lane that is gone}'
    limit at_most
$$;
