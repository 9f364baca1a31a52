-- Saves a checkpoint in the caller's own transaction, as save.sql does in one of its own: raises PD001 there,
-- so that a worker which has lost the task takes its business writes back with it. Such a run is explicit.
create function perdure.checkpoint(
    lease uuid, task bigint, attempt integer, started_at double precision, saved jsonb
) returns void
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    perform perdure.fence(lease, task);
    insert into perdure.progress as p (task_id, attempt, started_at, marks, version, execution_metadata, steps)
    values (task, checkpoint.attempt, to_timestamp(checkpoint.started_at), 2, (saved ->> 'version')::integer,
        nullif(saved -> 'execution_metadata', 'null'), nullif(saved -> 'steps', 'null'))
    on conflict (task_id) do update set
        attempt = greatest(p.attempt, excluded.attempt),
        started_at = coalesce(p.started_at, excluded.started_at),
        crashes = 0,
        marks = p.marks & 11 | 2,
        version = excluded.version,
        execution_metadata = coalesce(excluded.execution_metadata, p.execution_metadata),
        steps = coalesce(excluded.steps, p.steps);
end $$;
