-- Tells the followers of a task that has ended: one blocker less each; who has none left goes on.
-- The rows are locked in id order; a follower with a time of its own waits for that next.
create function perdure.unblock(ended bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    followers bigint[];
    freed bigint[];
begin
    with gone as (delete from perdure.edges where after_id = ended returning task_id)
    select array_agg(task_id order by task_id) into followers from gone;
    if followers is null then
        return;
    end if;
    perform from perdure.waiting where task_id = any (followers) order by task_id for update;
    update perdure.waiting set blockers = blockers - 1, reason = case when blockers = 1 then 'delay' else reason end
    where task_id = any (followers);
    with gone as (
        delete from perdure.waiting
        where task_id = any (followers) and blockers = 0
            and (due_at is null or due_at <= (select clock_timestamp()))
        returning task_id)
    select array_agg(task_id order by task_id) into freed from gone;
    if freed is not null then
        perform perdure.place(freed);
    end if;
end $$;
