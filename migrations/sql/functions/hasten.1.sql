-- Lets a waiting task that the caller has locked go on at once, as promotion does when its time has come.
-- Answers whether it could: one that waits for others, or to be proceeded, could not.
create function perdure.hasten(task bigint) returns boolean
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    waits text;
begin
    delete from perdure.waiting as w
    where w.task_id = task and w.blockers = 0 and w.due_at is not null and w.reason <> 'suspended'
    returning w.reason into waits;
    if waits is null then
        return false;
    end if;
    perform perdure.place(array[task], case when waits in ('delay', 'newer_checkpoint') then null else waits end);
    return true;
end $$;
