-- Those that ended for a task, directly or by way of each other, in the order of their ids, as far as the
-- session may see them.
create function perdure.dependents(task bigint) returns bigint[]
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    return array(
        with recursive ended (id) as (
            select task
            union
            select i.task_id
            from ended as e
            join perdure.inputs as i on i.after_id = e.id
            join perdure.outcomes as o on o.task_id = i.task_id and o.kind = 'dependency')
        select t.id from ended as e join perdure.tasks as t on t.id = e.id
        where t.id <> task and perdure.sees(t.enqueued_by) order by t.id);
end $$;
