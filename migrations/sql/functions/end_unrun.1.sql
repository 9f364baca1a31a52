-- The outcome of a task that is in no place any more and is not running; its followers are told by
-- whoever calls this. But those behind it in a line wait from here on for the one before it (leave_line).
create function perdure.end_unrun(task bigint, as_state text, as_kind text, message text default null) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    insert into perdure.outcomes (task_id, attempt, state, kind, cancel_requested_at, error)
    select task, coalesce(max(p.attempt), 0), as_state, as_kind,
        case when as_state = 'cancelled' and as_kind not in ('dependency', 'skipped') then clock_timestamp() end,
        perdure.fault(as_kind, message)
    from perdure.progress as p where p.task_id = task;
    perform perdure.leave_line(task);
    delete from perdure.edges where task_id = task;
    perform perdure.forget_mail(task);
    perform perdure.hand_over(task);
end $$;
