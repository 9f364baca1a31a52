-- Ready tasks older than a minute that no live worker takes, by lane and counted up to 1,000, and
-- tasks whose checkpoint is newer than every worker that has seen it; why says what is missing.
create view perdure.unserved_tasks as
with live as materialized (
    select w.names, w.queues from perdure.workers as w
    where not w.stopping and w.heartbeat_at + make_interval(secs => w.lease_seconds) > clock_timestamp()
), counted as (
    select l.queue, l.name, l.requires, c.tasks, c.first_id, false as newer
    from perdure.lanes as l
    cross join lateral (
        select count(*) as tasks, min(r.task_id) as first_id from (
            select k.task_id from perdure.ready as k where k.lane = l.id order by k.priority, k.task_id limit 1000
        ) as r
    ) as c
    where l.id <> 0 and c.tasks > 0
    union all
    select coalesce(t.queue, y.queue, 'default'), t.name, perdure.joined(t.requires, y.requires),
        count(*), min(t.id), r.newer
    from (
        (select k.task_id, false as newer from perdure.ready as k where k.lane = 0 order by k.priority, k.task_id limit 1000)
        union all
        (select w.task_id, true from perdure.waiting as w where w.reason = 'newer_checkpoint' limit 1000)
    ) as r
    join perdure.tasks as t on t.id = r.task_id
    left join perdure.task_types as y on y.name = t.name
    group by 1, 2, 3, 6
), judged as (
    select c.queue, c.name, c.requires, c.tasks, t.created_at as oldest, case
        when c.newer then 'no live worker knows the version of the checkpoint'
        when not exists (select from live as v where c.name = any (v.names)) then 'no live worker knows ' || c.name
        when not exists (
            select from live as v
            where c.name = any (v.names) and (v.queues = '{}' or c.queue = any (v.queues)))
            then 'no live worker serves queue ' || c.queue
        when cardinality(c.requires) > 0 then 'no live worker satisfies ' || array_to_string(c.requires, ', ')
        end as why
    from counted as c join perdure.tasks as t on t.id = c.first_id
)
select j.queue, j.name, j.requires, j.tasks, j.oldest, j.why from judged as j
where j.why is not null and j.oldest < clock_timestamp() - interval '1 minute';
