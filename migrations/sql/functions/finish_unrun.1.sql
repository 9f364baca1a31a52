-- Ends a task that is in no place any more and is not running: outcome, followers, left-over mail.
create function perdure.finish_unrun(task bigint, as_state text, as_kind text) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    perform perdure.end_unrun(task, as_state, as_kind);
    if perdure.unblock(task) then
        perform pg_notify(perdure.channel() || '_mail', '');
    end if;
end $$;
