-- Takes one task out of a lease whose row the caller has locked. The emptied row goes at once, unless
-- a transaction of a handler still holds on to it: then it stays empty and the next beat removes it.
create function perdure.cut(lease uuid, held bigint[], task bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    if cardinality(held) = 1 then
        perform from perdure.leases where id = lease for update skip locked;
        if found then
            delete from perdure.leases where id = lease;
            return;
        end if;
    end if;
    update perdure.leases set task_ids = array_remove(held, task) where id = lease;
end $$;
