-- Locks tasks that are ready or waiting in the order of their ids, whatever the order of the array, and answers
-- where each is: who is about to touch several locks all of them before the first, as the end of one takes those
-- that follow it along, and so waits for nobody who holds one and wants another. What runs is not locked.
create function perdure.lock_tasks(ids bigint[]) returns table (task_id bigint, place text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    for task_id in select distinct i from unnest(ids) as i order by i loop
        place := perdure.locate(task_id);
        return next;
    end loop;
end $$;
