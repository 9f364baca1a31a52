-- What the tasks that one follows have come to, in the order in which they were said: no row for a
-- task that follows none. state null: it has been retried and lives again.
create function perdure.inputs(task bigint) returns table (
    task_id bigint, name text, label text, state text, result jsonb, error jsonb)
    language sql stable security definer set search_path = pg_catalog, perdure, pg_temp as $$
    select i.after_id, t.name, i.label, o.state, o.result, o.error
    from perdure.inputs as i
    join perdure.tasks as t on t.id = i.after_id
    left join perdure.outcomes as o on o.task_id = i.after_id
    where i.task_id = inputs.task
    order by i.position
$$;
