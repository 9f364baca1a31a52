-- "I live", and what the worker has to know: see the function.
select b.alive, b.at, b.lost, b.letters, b.dead, b.due_in, b.unlaned, b.mail, b.paused, b.lanes, b.upkeep,
    b.lease, b.fire_in, b.openings, b.bounds, b.constraints, b.draining
from perdure.beat(%(worker)s::bigint, %(running)s::bigint[], %(lease_seconds)s::double precision,
    %(held)s::uuid[], %(problem)s::text,
    %(looks_in)s::double precision, %(satisfied)s::text[]) as b
