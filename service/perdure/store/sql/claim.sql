-- Takes tasks out of ready into leases of at most 64 under ids that the worker has made (the fence).
-- The plan is data: one read in index order per (lane, priority), after a position, past dead rows;
-- then one look per id (limit 1), which no statistic can turn into a read of a whole table.
-- FOR KEY SHARE: recovery locks the worker's row first, so no lease can appear for one just declared dead.
with worker as materialized (
    select id from perdure.workers where id = %(worker)s::bigint for key share),
picked as materialized (
    select r.row_at
    from worker
    cross join unnest(%(lanes)s::integer[], %(priorities)s::smallint[], %(after)s::bigint[], %(shares)s::integer[])
        as p (lane, priority, after, share)
    cross join lateral (
        select ctid as row_at from perdure.ready
        where lane = p.lane and priority = p.priority and task_id > p.after
        order by task_id limit p.share for update skip locked) as r
    limit %(at_most)s::bigint),
taken as materialized (
    delete from perdure.ready where ctid = any (array(select row_at from picked))
    returning lane, priority, task_id),
numbered as materialized (
    select lane, priority, task_id, (row_number() over (order by task_id) - 1) / 64 + 1 as part from taken),
leased as (
    insert into perdure.leases (id, worker_id, task_ids)
    select (%(leases)s::uuid[])[part], (select id from worker), array_agg(task_id) from numbered group by part)
select n.part, n.lane, n.priority, n.task_id, t.name,
    case when octet_length(t.body) <= %(body_bytes)s::integer then t.body end,
    case when p.task_id is not null or t.headers is not null or t.max_retries is not null or t.retry_delays is not null
            or t.schedule_key is not null or t.expires_at is not null or t.deadline_at is not null
        then jsonb_build_object(
            'attempt', p.attempt, 'failures', p.failures, 'interruptions', p.interruptions, 'losses', p.losses, 'crashes', p.crashes,
            'marks', p.marks, 'reason', p.reason, 'version', p.version, 'execution_metadata', p.execution_metadata::text,
            'steps', p.steps::text, 'headers', t.headers::text, 'max_retries', t.max_retries, 'retry_delays', t.retry_delays,
            'schedule_key', t.schedule_key, 'fire_at', extract(epoch from t.fire_at),
            'expires_at', extract(epoch from t.expires_at), 'deadline_at', extract(epoch from t.deadline_at),
            'cancelled', (
                select m.id from perdure.mail as m
                where m.task_id = n.task_id and m.kind in ('cancel', 'replaced') limit 1) is not null)::text
    end
from numbered as n
cross join lateral (
    select t.name, t.metadata::text as body, t.headers, t.max_retries, t.retry_delays,
        t.schedule_key, t.fire_at, t.expires_at, t.deadline_at
    from perdure.tasks as t where t.id = n.task_id limit 1) as t
left join lateral (
    select p.task_id, p.attempt, p.failures, p.interruptions, p.losses, p.crashes, p.marks, p.reason, p.version,
        p.execution_metadata, p.steps
    from perdure.progress as p where p.task_id = n.task_id limit 1) as p on true
