-- All that says when a schedule fires, and the time: the row that a worker looks at.
select s.key, s.xmin::text, s.state, s.trigger, s.planned, extract(epoch from s.jitter)::double precision,
    extract(epoch from s.flex)::double precision, extract(epoch from s.misfire_grace)::double precision, s.catch_up,
    s.max_catch_up, s.overlap, s.plan_from, s.anchor, s.next_fire_at, s.override_at, s.last_fire_at, clock_timestamp()
from perdure.schedules as s where s.key = %(key)s::text
