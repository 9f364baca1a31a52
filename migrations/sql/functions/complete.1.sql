-- Ends a task as completed in the caller's own transaction, which is what makes its effects happen
-- effectively once; raises PD001 if the lease no longer holds it. Best the last statement before COMMIT.
create function perdure.complete(lease uuid, task bigint, worker bigint, move jsonb) returns void
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    answered text;
    bound text := current_setting('lock_timeout');
begin
    -- A save of this run may be under way, which settle would not wait for: it would answer busy. Locked
    -- before the fence, so that of two completions the second waits here, with no lock of theirs. Not for
    -- long: it may be an open transaction of this very run, which waits for this one.
    perform set_config('lock_timeout', '2s', true);
    perform from perdure.leases as l where l.id = complete.lease for update;
    perform set_config('lock_timeout', bound, true);
    perform perdure.fence(lease, task);
    select s.answer into answered from perdure.settle(lease, task, worker, move) as s;
    if answered <> 'settled' then
        raise exception using errcode = 'PD001', message = 'task ' || task || ' could not be completed: its lease is ' || answered,
            hint = 'roll back and stop';
    end if;
end $$;
