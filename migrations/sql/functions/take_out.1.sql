-- Removes a task that locate() has met from ready or waiting; the caller places or ends it next.
create function perdure.take_out(task bigint, place text) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    if place = 'waiting' then
        delete from perdure.waiting where task_id = task;
    else
        delete from perdure.ready as r
        where r.lane in (select l.lane from perdure.lanes_of(task) as l)
            and r.priority = any ('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) and r.task_id = task;
    end if;
end $$;
