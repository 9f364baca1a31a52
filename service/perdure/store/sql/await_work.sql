-- Says that an idle enqueuer waits for these queues, for so many seconds: opens the gate of NOTIFY,
-- and answers until when, which is what tells this opening from others when it is closed again.
-- A row that somebody holds, as a producer that has sampled the depth does to its commit, is passed
-- over: an enqueuer that waited here would take nothing from any queue; without NOTIFY it polls.
with moment as materialized (
    select clock_timestamp() + make_interval(secs => %(seconds)s::double precision) as until),
free as materialized (
    select name from perdure.queues where name = any (%(queues)s::text[]) order by name
    for no key update skip locked),
known as (
    update perdure.queues as q set awaited = m.until
    from free as f cross join moment as m
    where q.name = f.name and (q.awaited is null or q.awaited < m.until)),
made as (
    insert into perdure.queues (name, awaited)
    select n.name, m.until
    from unnest(%(queues)s::text[]) as n (name) cross join moment as m
    where not exists (select from perdure.queues as q where q.name = n.name) order by n.name
    on conflict (name) do nothing)
select until::text from moment
