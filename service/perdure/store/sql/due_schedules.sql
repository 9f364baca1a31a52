-- Schedules that are to be looked at now: those without a plan, and those whose time has come; not those
-- that this look has passed over. version: the row as it is now, for whoever writes next.
select s.key, s.xmin::text, s.state, s.trigger, s.planned, extract(epoch from s.jitter)::double precision,
    extract(epoch from s.flex)::double precision, extract(epoch from s.misfire_grace)::double precision, s.catch_up,
    s.max_catch_up, s.overlap, s.plan_from, s.anchor, s.next_fire_at, s.override_at, s.last_fire_at, clock_timestamp()
from perdure.schedules as s
where s.key = any (array(
    -- Two reads of the index: one for both would go through all that are not due, too.
    (select n.key from perdure.schedules as n
    where (n.state = 'active' or n.state = 'paused' and n.look_at is null) and n.look_at is null
        and n.key <> all (%(passed)s::text[])
    limit %(at_most)s::integer)
    union all
    (select d.key from perdure.schedules as d
    where d.state = 'active' and d.look_at <= (select clock_timestamp()) and d.key <> all (%(passed)s::text[])
    order by d.look_at limit %(at_most)s::integer)))
order by s.look_at nulls first, s.key limit %(at_most)s::integer
