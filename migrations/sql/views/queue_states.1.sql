-- One row per queue that is used or set. concurrency: of each worker process.
create view perdure.queue_states as
with live as (
    select l.queue, r.task_id, 'ready' as place from perdure.ready as r join perdure.lanes as l on l.id = r.lane
    where r.lane <> 0
    union all
    select coalesce(t.queue, y.queue, 'default'), p.task_id, p.place
    from (
        select task_id, 'ready' as place from perdure.ready where lane = 0
        union all select task_id, 'waiting' from perdure.waiting
        union all select unnest(task_ids), 'running' from perdure.leases
    ) as p
    join perdure.tasks as t on t.id = p.task_id
    left join perdure.task_types as y on y.name = t.name
), counted as (
    select queue,
        count(*) filter (where place = 'ready') as ready,
        count(*) filter (where place = 'waiting') as waiting,
        count(*) filter (where place = 'running') as running,
        min(task_id) filter (where place = 'ready') as oldest
    from live group by queue
), failures as (
    select queue, sum(count)::bigint as failed from perdure.statistics
    where state = 'failed' and minute > now() - interval '1 hour' group by queue
)
select n.name as queue, coalesce(c.ready, 0) as ready, coalesce(c.waiting, 0) as waiting,
    coalesce(c.running, 0) as running,
    extract(epoch from clock_timestamp() - t.created_at)::double precision as oldest_ready_seconds,
    coalesce(f.failed, 0) as failed_last_hour,
    coalesce(q.paused_at, a.paused_at) is not null as paused, q.max_depth, q.concurrency
from (
    select queue as name from counted union select name from perdure.queues where name <> '*'
    union select queue from perdure.lanes where id <> 0
) as n
left join counted as c on c.queue = n.name
left join perdure.tasks as t on t.id = c.oldest
left join failures as f on f.queue = n.name
left join perdure.queues as q on q.name = n.name
left join perdure.queues as a on a.name = '*';
