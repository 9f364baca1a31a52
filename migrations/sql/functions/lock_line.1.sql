-- Locks tasks and all that stand before them in the lines of unique keys, in the order of their ids. Answers where
-- each is.
create function perdure.lock_line(last bigint[]) returns table (task_id bigint, place text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    return query
    select l.task_id, l.place from perdure.lock_tasks(array(
        with recursive line (id) as (
            select i from unnest(last) as i
            union
            select e.after_id from line as b join perdure.edges as e on e.task_id = b.id where e.kind <> 'after')
        select b.id from line as b)) as l;
end $$;
