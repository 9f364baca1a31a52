-- Whether a task can be withdrawn without waiting for anybody: it is leased, or its row in ready or
-- waiting is free, which is locked then. An open transaction that cancels it, say, may hold it for long.
create function perdure.at_hand(task bigint) returns boolean
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    perform from perdure.waiting where task_id = task for update skip locked;
    if found then
        return true;
    end if;
    perform from perdure.ready as r
    where r.lane in (select l.lane from perdure.lanes_of(task) as l)
        and r.priority = any ('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) and r.task_id = task
    for update skip locked;
    return found or exists (select from perdure.leases where task = any (task_ids));
end $$;
