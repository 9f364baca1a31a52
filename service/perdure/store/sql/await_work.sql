-- Says that an idle enqueuer waits for these queues, for so many seconds: opens the gate of NOTIFY.
-- A row that somebody holds, as a producer that has sampled the depth does to its commit, is passed
-- over: an enqueuer that waited here would take nothing from any queue; without NOTIFY it polls.
with free as materialized (
    select name from perdure.queues where name = any (%(queues)s::text[]) order by name
    for no key update skip locked),
known as (
    update perdure.queues as q
    set awaited = clock_timestamp() + make_interval(secs => %(seconds)s::double precision)
    from free as f
    where q.name = f.name and (
        q.awaited is null or q.awaited < clock_timestamp() + make_interval(secs => %(seconds)s::double precision)))
insert into perdure.queues (name, awaited)
select n.name, clock_timestamp() + make_interval(secs => %(seconds)s::double precision)
from unnest(%(queues)s::text[]) as n (name)
where not exists (select from perdure.queues as q where q.name = n.name) order by n.name
on conflict (name) do nothing
