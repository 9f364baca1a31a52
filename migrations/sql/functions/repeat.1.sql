-- Enqueues a copy of a task (name, metadata, queue, priority, tags, requires, headers) and answers
-- its id; null where there is no such task.
create function perdure.repeat(id bigint) returns bigint
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    copy_id bigint;
begin
    insert into perdure.tasks (name, metadata, queue, priority, tags, requires, headers, max_retries, retry_delays)
    select t.name, t.metadata, t.queue, t.priority, t.tags, t.requires, t.headers, t.max_retries, t.retry_delays
    from perdure.tasks as t where t.id = repeat.id and perdure.sees(t.enqueued_by)
    returning tasks.id into copy_id;
    if found then
        insert into perdure.audit (action, task_id, details)
        values ('repeat', repeat.id, jsonb_build_object('copy', copy_id));
    end if;
    return copy_id;
end $$;
