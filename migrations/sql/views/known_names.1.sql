-- Names that tasks, definitions, schedules, workers or operators use, by kind: task, queue, constraint, schedule.
-- What is not here is nobody's yet, or a typo. Of tasks without a lane - they wait, or no worker has declared their
-- name yet - it looks at a thousand each, so that it costs the same however many there are.
create view perdure.known_names as
with unlaned as (
    select coalesce(t.queue, y.queue, 'default') as queue, t.requires
    from (
        (select r.task_id from perdure.ready as r where r.lane = 0 limit 1000)
        union all (select w.task_id from perdure.waiting as w limit 1000)) as p
    join perdure.tasks as t on t.id = p.task_id
    left join perdure.task_types as y on y.name = t.name
)
select 'task' as kind, name from perdure.task_types
union select 'task', name from perdure.lanes where id <> 0
union select 'queue', queue from perdure.lanes where id <> 0
union select 'queue', queue from perdure.task_types
union select 'queue', queue from perdure.schedules where queue is not null
union select 'queue', n from perdure.workers as w cross join unnest(w.queues) as n
union select 'queue', name from perdure.queues where name <> '*'
union select 'constraint', n from perdure.lanes as l cross join unnest(l.requires) as n
union select 'constraint', n from perdure.task_types as y cross join unnest(y.requires) as n
union select 'constraint', n from perdure.schedules as s cross join unnest(s.requires) as n
union select 'constraint', n from perdure.workers as w cross join unnest(w.satisfied) as n
union select 'constraint', name from perdure.constraints
union select 'queue', queue from unlaned
union select 'constraint', n from unlaned as u cross join unnest(u.requires) as n
union select 'schedule', key from perdure.schedules;
