-- Whether the place of a task is of this transaction: then nobody else can take the task from there
-- before the commit, and who takes it after that sees all that the transaction has written.
create function perdure.placed_here(task bigint) returns boolean
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    perform from perdure.waiting as w where w.task_id = task and w.xmin = pg_current_xact_id()::xid;
    if found then
        return true;
    end if;
    perform from perdure.ready as r
    where r.lane in (select l.lane from perdure.lanes_of(task) as l)
        and r.priority = any ('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) and r.task_id = task
        and r.xmin = pg_current_xact_id()::xid;
    return found;
end $$;
