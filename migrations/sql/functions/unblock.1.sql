-- Tells the followers of a task that has ended: one blocker less each; who has none left goes on.
-- The rows are locked in id order; a follower with a time of its own waits for that next. One that a
-- caller's open transaction holds is not waited for: a letter lets promotion come back to it. Only who
-- takes an edge away counts it: another may have done so between the look at it and the lock.
create function perdure.unblock(ended bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    followers bigint[];
    freed bigint[];
begin
    if not exists (select from perdure.edges where after_id = ended) then
        return;
    end if;
    followers := array(
        select w.task_id
        from (
            select i from unnest(array(select e.task_id from perdure.edges as e where e.after_id = ended)) as i
            order by i) as f
        cross join lateral (
            select w.task_id from perdure.waiting as w where w.task_id = f.i for update skip locked) as w);
    with cut as (
        delete from perdure.edges where after_id = ended and task_id = any (followers) returning task_id)
    select coalesce(array_agg(c.task_id order by c.task_id), '{}') into followers from cut as c;
    insert into perdure.mail (task_id, kind)
    select ended, 'follower' where exists (select from perdure.edges where after_id = ended);
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
