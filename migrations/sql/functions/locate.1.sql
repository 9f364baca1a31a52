-- Where a task is now, with its row locked if it is ready or waiting: ready, waiting, lease, ended
-- or null. A task may move between two looks, so it looks again until it has met it.
create function perdure.locate(task bigint) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    for turn in 1..100 loop
        perform from perdure.waiting where task_id = task for update;
        if found then
            return 'waiting';
        end if;
        perform from perdure.ready as r
        where r.lane in (select l.lane from perdure.lanes_of(task) as l)
            and r.priority = any ('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) and r.task_id = task
        for update;
        if found then
            return 'ready';
        end if;
        if exists (select from perdure.leases where task = any (task_ids)) then
            return 'lease';
        end if;
        if exists (select from perdure.outcomes where task_id = task) then
            return 'ended';
        end if;
        if not exists (select from perdure.tasks where id = task) then
            return null;
        end if;
    end loop;
    raise exception using errcode = '40001', message = 'task ' || task || ' moves too fast to be met',
        hint = 'try again';
end $$;
