-- Lets a task that is about to be enqueued wait for those before it in the line of a unique key. Whoever
-- stands before it hands its own place on when it ends without a run: its row is touched, so that a caller
-- who cancels it in repeatable read and cannot see the new one is refused.
create function perdure.line_up(task bigint, after bigint[], as_kind text) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    before bigint;
begin
    foreach before in array after loop
        insert into perdure.edges (task_id, after_id, rule, kind) values (task, before, 'run', as_kind);
        perform perdure.locate(before);
        update perdure.waiting as w set blockers = w.blockers where w.task_id = before;
        perform perdure.mark_followed(before);
    end loop;
end $$;
