-- Raises PD001 unless the lease holds the task, and keeps it so to the end of the transaction: FOR KEY
-- SHARE lets neighbours be finished and makes recovery wait or skip. A handler that goes to sleep in
-- its transaction is ended by the server after the length of a lease, so that recovery can have it; after
-- a second, where the worker is said to be dead.
create function perdure.fence(lease uuid, task bigint) returns void
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    holder bigint;
    seconds double precision;
begin
    select l.worker_id into holder from perdure.leases as l
    where l.id = fence.lease and fence.task = any (l.task_ids) for key share;
    if not found then
        raise exception using errcode = 'PD001', message = concat('the lease no longer holds task ', task),
            hint = 'another worker has the task now: roll back and stop';
    end if;
    select w.lease_seconds into seconds from perdure.workers as w where w.id = holder;
    perform set_config('idle_in_transaction_session_timeout', ceil(greatest(coalesce(seconds, 10), 1) * 1000)::text, true);
end $$;
