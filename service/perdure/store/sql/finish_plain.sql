-- Ends many plain successes, with the checkpoints that some leave. Fence: conditions and new arrays come from
-- what the locking CTE returned, nothing else is read; a lease that somebody has locked is left for the next flush.
-- An emptied lease is deleted only where a FOR UPDATE pick got it: a handler's open transaction may hold on to
-- the row, then it stays empty and the next beat removes it.
with ended as materialized (
    select (%(leases)s::uuid[])[o.lease] as lease, o.task_id, o.attempt, to_timestamp(o.started / 1e6) as started_at, o.result,
        nullif(o.saved, 'null') as saved
    from rows from (
        unnest(%(lease)s::integer[]), unnest(%(task)s::bigint[]), unnest(%(attempt)s::integer[]),
        unnest(%(started)s::bigint[]), jsonb_array_elements(%(result)s::jsonb), jsonb_array_elements(%(saved)s::jsonb)
    ) as o (lease, task_id, attempt, started, result, saved)),
held as materialized (
    select l.id, l.task_ids
    from (select id from unnest(%(leases)s::uuid[]) as i (id) order by id) as i
    cross join lateral (
        select id, task_ids from perdure.leases where id = i.id limit 1 for no key update skip locked) as l),
accepted as materialized (
    select e.lease, e.task_id, e.attempt, e.started_at, e.result, e.saved
    from held as h join ended as e on e.lease = h.id where e.task_id = any (h.task_ids)),
rest as materialized (
    select h.id, array(
        select unnest(h.task_ids) except all select a.task_id from accepted as a where a.lease = h.id) as left_over
    from held as h),
empty as materialized (
    select l.id
    from (select id from rest where left_over = '{}' order by id) as r
    cross join lateral (select id from perdure.leases where id = r.id limit 1 for update skip locked) as l),
emptied as (delete from perdure.leases as l using empty as e where l.id = e.id),
cut as (
    update perdure.leases as l set task_ids = r.left_over from rest as r
    where l.id = r.id and not exists (select from empty as e where e.id = l.id)),
noted as (
    insert into perdure.progress as p (task_id, attempt, version, execution_metadata, steps)
    select a.task_id, a.attempt, (a.saved ->> 'version')::integer, nullif(a.saved -> 'execution_metadata', 'null'),
        nullif(a.saved -> 'steps', 'null')
    from accepted as a where a.saved is not null order by a.task_id
    on conflict (task_id) do update set
        attempt = excluded.attempt, crashes = 0, marks = p.marks & 2, started_at = null, version = excluded.version,
        execution_metadata = coalesce(excluded.execution_metadata, p.execution_metadata),
        steps = coalesce(excluded.steps, p.steps))
insert into perdure.outcomes (task_id, attempt, state, started_at, worker_id, result)
select a.task_id, a.attempt, 'completed', a.started_at, %(worker)s::bigint, nullif(a.result, 'null'::jsonb)
from accepted as a
