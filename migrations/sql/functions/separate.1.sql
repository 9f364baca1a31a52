-- Moves a running task to a lease of its own before it writes in a caller's transaction, so that no
-- open transaction stands in its neighbours' way. Answers the lease that holds it now; asking again
-- after a lost reply answers the same. The worker's row is locked first, as by the claim: recovery
-- would not see a lease that appears behind its back.
create function perdure.separate(lease uuid, task bigint, own uuid) returns uuid
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    held perdure.leases;
begin
    perform from perdure.workers as w
    where w.id = (select l.worker_id from perdure.leases as l where l.id = separate.lease) for key share;
    if found then
        select l.id, l.worker_id, l.task_ids, l.claimed_at into held
        from perdure.leases as l where l.id = separate.lease for no key update;
    end if;
    if held.id is null or not (task = any (held.task_ids)) then
        -- Asked again: what came before may have been done while this waited for the lease's row.
        if exists (select from perdure.leases as l where l.id = separate.own and separate.task = any (l.task_ids)) then
            return own;
        end if;
        raise exception using errcode = 'PD001', message = 'the lease no longer holds task ' || task,
            hint = 'another worker has the task now: stop';
    elsif cardinality(held.task_ids) = 1 then
        return lease;
    end if;
    update perdure.leases as l set task_ids = array_remove(held.task_ids, separate.task) where l.id = separate.lease;
    insert into perdure.leases (id, worker_id, task_ids, claimed_at)
    values (own, held.worker_id, array[task], held.claimed_at);
    return own;
end $$;
