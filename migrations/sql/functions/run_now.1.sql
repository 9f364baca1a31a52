-- Runs a task that waits for a time at once: hastened. Else not_waiting (also for one that waits for other
-- tasks, or to be proceeded), not_found.
create function perdure.run_now(id bigint) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    if not exists (select from perdure.tasks as t where t.id = run_now.id and perdure.sees(t.enqueued_by)) then
        return 'not_found';
    elsif perdure.locate(run_now.id) is distinct from 'waiting' or not perdure.hasten(run_now.id) then
        return 'not_waiting';
    end if;
    insert into perdure.audit (action, task_id) values ('run_now', run_now.id);
    return 'hastened';
end $$;
