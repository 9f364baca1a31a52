-- Ends a task that is in no place any more and is not running: outcome, followers, left-over mail.
create function perdure.finish_unrun(task bigint, as_state text, as_kind text) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    insert into perdure.outcomes (task_id, attempt, state, kind, cancel_requested_at, error)
    select task, coalesce(max(p.attempt), 0), as_state, as_kind,
        case when as_state = 'cancelled' then clock_timestamp() end, perdure.fault(as_kind)
    from perdure.progress as p where p.task_id = task;
    delete from perdure.edges where task_id = task;
    perform perdure.forget_mail(task);
    perform perdure.unblock(task);
end $$;
