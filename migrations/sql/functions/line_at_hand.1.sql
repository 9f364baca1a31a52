-- Whether a task that waits can leave the line of its unique key without waiting for anybody: the edges that
-- leave_line needs are free, and locked then. Who leaves beside it in an open transaction may hold them for long.
create function perdure.line_at_hand(task bigint) returns boolean
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    perform from perdure.edges as e where e.task_id = task and e.kind <> 'after' limit 1;
    return not found
        or (select count(*) from perdure.edges as e where e.task_id = task and e.kind <> 'after') = (
            select count(*) from (
                select from perdure.edges as e where e.task_id = task and e.kind <> 'after' for update skip locked) as l)
        and (select count(*) from perdure.edges as f where f.after_id = task and f.kind <> 'after') = (
            select count(*) from (
                select from perdure.edges as f where f.after_id = task and f.kind <> 'after' for update skip locked) as l);
end $$;
