-- Says that an idle enqueuer waits for these queues, for so many seconds: opens the gate of NOTIFY.
insert into perdure.queues as q (name, awaited)
select name, clock_timestamp() + make_interval(secs => %(seconds)s::double precision)
from unnest(%(queues)s::text[]) as name order by name
on conflict (name) do update set awaited = excluded.awaited
where q.awaited is null or q.awaited < excluded.awaited
