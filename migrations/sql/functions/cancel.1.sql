-- Cancels a task: cancelled (it had not started), requested (it is running and is told to stop),
-- ended, not_found. A producer cancels its own tasks only.
create function perdure.cancel(id bigint) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    asked_at timestamptz := clock_timestamp();
    answer text;
begin
    if not exists (select from perdure.tasks as t where t.id = cancel.id and perdure.sees(t.enqueued_by)) then
        return 'not_found';
    end if;
    answer := perdure.withdraw(cancel.id, 'requested');
    if answer in ('cancelled', 'requested') then
        insert into perdure.audit (at, action, task_id) values (asked_at, 'cancel', cancel.id);
    end if;
    return answer;
end $$;
