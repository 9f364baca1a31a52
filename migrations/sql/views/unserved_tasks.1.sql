-- Ready tasks older than a minute that no live worker takes, by lane and counted up to 1,000, and
-- tasks whose checkpoint is newer than every worker that has seen it; why says what is missing. Lanes are
-- judged before their tasks are counted: most are served.
create view perdure.unserved_tasks as
with lacking as materialized (
    select l.id, l.queue, l.name, l.requires, perdure.unserved(l.queue, l.name, l.requires) as why
    from perdure.lanes as l
    where l.id <> 0 and exists (select from perdure.ready as k where k.lane = l.id)
), counted as (
    select l.queue, l.name, l.requires, l.why, c.tasks, c.first_id
    from lacking as l
    cross join lateral (
        select count(*) as tasks, min(r.task_id) as first_id from (
            select k.task_id from perdure.ready as k where k.lane = l.id order by k.priority, k.task_id limit 1000
        ) as r
    ) as c
    where l.why is not null and c.tasks > 0
    union all
    select g.queue, g.name, g.requires,
        case when g.newer then 'no live worker knows the version of the checkpoint'
            else perdure.unserved(g.queue, g.name, g.requires) end,
        g.tasks, g.first_id
    from (
        select coalesce(t.queue, y.queue, 'default') as queue, t.name, perdure.joined(t.requires, y.requires) as requires,
            r.newer, count(*) as tasks, min(t.id) as first_id
        from (
            (select k.task_id, false as newer from perdure.ready as k where k.lane = 0 order by k.priority, k.task_id limit 1000)
            union all
            (select w.task_id, true from perdure.waiting as w where w.reason = 'newer_checkpoint' limit 1000)
        ) as r
        join perdure.tasks as t on t.id = r.task_id
        left join perdure.task_types as y on y.name = t.name
        group by 1, 2, 3, 4
    ) as g
)
select c.queue, c.name, c.requires, c.tasks, t.created_at as oldest, c.why
from counted as c join perdure.tasks as t on t.id = c.first_id
where c.why is not null and t.created_at < (select clock_timestamp()) - interval '1 minute';
