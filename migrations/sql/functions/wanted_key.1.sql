-- Of which key a task has to hold an instance, as its row and the limit of its name are now; null: of none.
create function perdure.wanted_key(task bigint) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    return (
        select perdure.instance_key(y.instances_of, y.instances_by, t.metadata)
        from perdure.tasks as t join perdure.task_types as y on y.name = t.name and y.max_instances is not null
        where t.id = task);
end $$;
