-- save in the caller's own transaction: raises PD001 there, so that a worker which has lost the task
-- takes its business writes back with it.
create function perdure.checkpoint(
    lease uuid, task bigint, attempt integer, started_at double precision, saved jsonb
) returns void
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
begin
    perform perdure.fence(lease, task);
    perform perdure.save(lease, task, attempt, started_at, saved, true);
end $$;
