-- Saves execution metadata, progress, or the mere start of several runs, each of another task; false where the
-- lease has been lost. Fence: written is what the locking CTE returned. One statement: as a function it cost
-- twice as much as the UPDATE of a row. A saved checkpoint sets crashes to 0, and clears of suspicion.
with asked as materialized (
    select m.n, (m.save ->> 'lease')::uuid as lease, (m.save ->> 'task')::bigint as task_id,
        (m.save ->> 'attempt')::integer as attempt, to_timestamp((m.save ->> 'started_at')::double precision) as started_at,
        nullif(m.save -> 'saved', 'null') as saved, case when (m.save ->> 'explicit')::boolean then 2 else 0 end as marks,
        nullif(m.save -> 'progress', 'null') as progress
    from jsonb_array_elements(%(saves)s::jsonb) with ordinality as m (save, n)),
held as materialized (
    select a.n
    from asked as a
    cross join lateral (
        select from perdure.leases as l where l.id = a.lease and a.task_id = any (l.task_ids) limit 1
        for key share) as l),
written as (
    insert into perdure.progress as p (task_id, attempt, started_at, marks, version, execution_metadata, steps, progress)
    select a.task_id, a.attempt, a.started_at, a.marks, coalesce((a.saved ->> 'version')::integer, 1),
        nullif(a.saved -> 'execution_metadata', 'null'), nullif(a.saved -> 'steps', 'null'), a.progress
    from asked as a where a.n in (select h.n from held as h)
    on conflict (task_id) do update set
        attempt = greatest(p.attempt, excluded.attempt),
        started_at = coalesce(p.started_at, excluded.started_at),
        (crashes, marks, version) = (
            select case when a.saved is null then p.crashes else 0 end,
                p.marks & case when a.saved is null then 15 else 11 end | a.marks,
                coalesce((a.saved ->> 'version')::integer, p.version)
            from asked as a where a.task_id = p.task_id),
        execution_metadata = coalesce(excluded.execution_metadata, p.execution_metadata),
        steps = coalesce(excluded.steps, p.steps),
        progress = coalesce(excluded.progress, p.progress))
select a.n, a.n in (select h.n from held as h) from asked as a
