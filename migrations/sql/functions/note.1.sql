-- Writes what a move changes in a task's progress: counters, execution metadata, marks. A task
-- without any of these gets no row. A saved checkpoint sets crashes to 0, and clears of suspicion.
create function perdure.note(task bigint, move jsonb) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    saved jsonb := nullif(move -> 'saved', 'null');
    failed integer := coalesce((move ->> 'failures')::integer, 0);
    stopped integer := coalesce((move ->> 'interruptions')::integer, 0);
    crashed integer := coalesce((move ->> 'crashes')::integer, 0);
    run integer := coalesce((move ->> 'attempt')::integer, 0);
    lost integer := case when move ->> 'run_reason' like 'constraint:%' then 1 else 0 end;
    own boolean := coalesce((move ->> 'explicit')::boolean, false);
begin
    -- The row may come into being meanwhile, by a save of the same run that is not committed yet.
    for turn in 1..2 loop
        update perdure.progress as p set
            attempt = greatest(p.attempt, run),
            failures = p.failures + failed,
            interruptions = p.interruptions + stopped,
            losses = p.losses + lost,
            crashes = case when saved is null then p.crashes + crashed else 0 end,
            marks = p.marks & case when saved is null then 14 else 10 end | case when own then 2 else 0 end,
            started_at = null,
            version = coalesce((saved ->> 'version')::integer, p.version),
            execution_metadata = coalesce(nullif(saved -> 'execution_metadata', 'null'), p.execution_metadata),
            steps = coalesce(nullif(saved -> 'steps', 'null'), p.steps),
            progress = coalesce(nullif(move -> 'progress', 'null'), p.progress)
        where p.task_id = task;
        exit when found or not (saved is not null or failed + stopped + crashed > 0 or own
            or coalesce(move -> 'progress', 'null') <> 'null' or move -> 'to' ->> 'place' <> 'ended');
        insert into perdure.progress (task_id, attempt, failures, interruptions, losses, crashes, marks, version,
            execution_metadata, steps, progress)
        values (task, run, failed, stopped, lost, crashed, case when own then 2 else 0 end,
            coalesce((saved ->> 'version')::integer, 1), nullif(saved -> 'execution_metadata', 'null'), nullif(saved -> 'steps', 'null'),
            nullif(move -> 'progress', 'null'))
        on conflict (task_id) do nothing;
        exit when found;
    end loop;
end $$;
