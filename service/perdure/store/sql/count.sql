-- Adds what this worker has ended to the statistics: one row per minute, name, queue and state.
insert into perdure.statistics as s (worker_id, minute, name, queue, state, count, seconds)
select %(worker)s::bigint, date_trunc('minute', clock_timestamp()), x.name, x.queue, x.state, x.count, x.seconds
from jsonb_to_recordset(%(counts)s::jsonb) as x (
    name text, queue text, state text, count bigint, seconds double precision)
order by x.name, x.queue, x.state
on conflict (minute, worker_id, name, queue, state)
do update set count = s.count + excluded.count, seconds = s.seconds + excluded.seconds
