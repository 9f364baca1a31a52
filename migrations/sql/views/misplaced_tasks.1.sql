-- The conservation law: every task is in exactly one of ready, a lease, waiting, outcomes. Must be empty.
create view perdure.misplaced_tasks as
select coalesce(t.id, p.task_id) as task_id, coalesce(p.places, '{}') as places
from perdure.tasks as t
full join (
    select task_id, array_agg(place order by place) as places from (
        select task_id, 'ready' as place from perdure.ready
        union all select unnest(task_ids), 'lease' from perdure.leases
        union all select task_id, 'waiting' from perdure.waiting
        union all select task_id, 'outcomes' from perdure.outcomes
    ) as p group by task_id
) as p on p.task_id = t.id
where t.id is null or p.task_id is null or cardinality(p.places) <> 1;
