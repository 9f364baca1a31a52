-- Saves the execution metadata of a running task, or with saved null only that the run has begun.
-- False, and nothing written, if the lease no longer holds the task.
create function perdure.save(
    lease uuid, task bigint, attempt integer, started_at double precision, saved jsonb,
    explicit boolean default false, progress jsonb default null
) returns boolean
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    perform from perdure.leases as l where l.id = save.lease and save.task = any (l.task_ids) for key share;
    if not found then
        return false;
    end if;
    insert into perdure.progress as p (task_id, attempt, started_at, marks, version, execution_metadata, steps, progress)
    values (task, save.attempt, to_timestamp(save.started_at), case when explicit then 2 else 0 end,
        coalesce((saved ->> 'version')::integer, 1), nullif(saved -> 'execution_metadata', 'null'), nullif(saved -> 'steps', 'null'), save.progress)
    on conflict (task_id) do update set
        attempt = greatest(p.attempt, excluded.attempt),
        started_at = coalesce(p.started_at, excluded.started_at),
        crashes = case when saved is null then p.crashes else 0 end,
        marks = p.marks & case when saved is null then 7 else 3 end | excluded.marks,
        version = coalesce((saved ->> 'version')::integer, p.version),
        execution_metadata = coalesce(excluded.execution_metadata, p.execution_metadata),
        steps = coalesce(excluded.steps, p.steps),
        progress = coalesce(excluded.progress, p.progress);
    return true;
end $$;
