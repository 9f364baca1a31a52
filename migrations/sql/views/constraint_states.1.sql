-- Every constraint that somebody requires, declares or satisfies: what was said of it for the whole cluster
-- (null: nothing), how many live workers it holds for, and how many ready tasks require it.
create view perdure.constraint_states as
with held as (
    select n as name, count(*) as workers
    from perdure.workers as w cross join unnest(w.satisfied) as n
    where w.heartbeat_at + make_interval(secs => w.lease_seconds) > (select clock_timestamp())
    group by n
), required as (
    select n as name, count(r.task_id) as ready
    from perdure.lanes as l cross join unnest(l.requires) as n left join perdure.ready as r on r.lane = l.id
    group by n
)
select a.name, c.satisfied as declared, c.changed_at, coalesce(h.workers, 0) as workers, coalesce(q.ready, 0) as ready
from (
    select name from held union select name from required union select name from perdure.constraints
) as a
left join held as h on h.name = a.name
left join required as q on q.name = a.name
left join perdure.constraints as c on c.name = a.name;
