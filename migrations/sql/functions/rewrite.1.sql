-- Changes what was asked of a task that has not ended: the members of changes replace its columns (null:
-- the default holds again), due its time. The old values go to the audit. A task that waits or is ready is
-- at once as its row says; one that runs is so in its next run, which no time of ours can move; nor does one
-- move what is suspended. Answers applied, applied_next_run, not_applied (nothing was changed), not_found.
create function perdure.rewrite(task bigint, changes jsonb, due timestamptz default null) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    place constant text := perdure.locate(task);
    waits constant text := (select w.reason from perdure.waiting as w where w.task_id = task);
    moves constant boolean := due is not null and (place = 'ready' or waits <> 'suspended');
    wanted constant jsonb := changes || case when moves then jsonb_build_object('run_at', due) else '{}' end;
    before jsonb;
begin
    if place is null then
        return 'not_found';
    elsif place = 'ended' or wanted = '{}' then
        return 'not_applied';
    end if;
    select coalesce(jsonb_object_agg(c.key, to_jsonb(t) -> c.key), '{}') into before
    from perdure.tasks as t cross join jsonb_each(wanted) as c
    where t.id = task and to_jsonb(t) -> c.key is distinct from c.value;
    if before <> '{}' then
        insert into perdure.audit (action, task_id, details) values ('update', task, jsonb_build_object('before', before));
        update perdure.tasks as t set
            (metadata, queue, priority, run_at, tags, requires, headers, max_retries, retry_delays, expires_at, deadline_at) = (
                select r.metadata, r.queue, r.priority, r.run_at, r.tags, r.requires, r.headers, r.max_retries,
                    r.retry_delays, r.expires_at, r.deadline_at
                from jsonb_populate_record(t, wanted) as r)
        where t.id = task;
        if before ?| '{expires_at,deadline_at}' then
            perform perdure.set_alarms(task);
        end if;
    end if;
    if place = 'lease' then
        return 'applied_next_run';
    elsif place = 'ready' and (moves or before ?| '{queue,priority,requires,deadline_at}')
        or waits = 'instances' and (moves or before ? 'metadata')
        or place = 'ready' and before ? 'metadata' and exists (select from perdure.instances as i where i.task_id = task)
    then
        perform perdure.take_out(task, place);
        perform perdure.place(array[task], null, due);
    elsif place = 'waiting' and moves then
        update perdure.waiting as w set due_at = due, delay = null where w.task_id = task;
        if due <= clock_timestamp() then
            perform perdure.hasten(task);
        else
            perform perdure.wake_at(due);
        end if;
    end if;
    return 'applied';
end $$;
