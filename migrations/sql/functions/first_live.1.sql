-- The oldest task that a schedule has made and that has not ended, from an id on, looked for among at most so many.
-- looked: how many have been; beyond: where to go on, if none of these lives and there are more. A range of one key
-- has one index only: given equality, the planner might go through all tasks by their ids.
create function perdure.first_live(key text, since bigint, at_most bigint, out live bigint, out looked bigint, out beyond bigint)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp set enable_seqscan = off set jit = off as $$
begin
    select f.id, f.n into live, looked
    from (
        select t.id, row_number() over (order by t.schedule_key, t.id) as n from perdure.tasks as t
        where t.schedule_key between key and key and t.id >= since order by t.schedule_key, t.id limit at_most) as f
    where (select o.task_id from perdure.outcomes as o where o.task_id = f.id limit 1) is null
    order by f.id limit 1;
    if not found then
        looked := at_most;
        beyond := (
            select t.id from perdure.tasks as t
            where t.schedule_key between key and key and t.id >= since
            order by t.schedule_key, t.id offset at_most limit 1);
    end if;
end $$;
