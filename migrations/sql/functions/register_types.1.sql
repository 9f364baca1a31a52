-- Records the names that a worker serves, with their defaults and JSON Schemas, and makes their lanes;
-- what was admitted before its name was known is moved out of lane 0.
create function perdure.register_types(types jsonb) returns void
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
begin
    insert into perdure.task_types as y (name, queue, priority, requires, description, schemas)
    select x.name, x.queue, x.priority, perdure.joined(x.requires, '{}'), x.description, coalesce(x.schemas, '{}')
    from jsonb_to_recordset(types) as x (
        name text, queue text, priority smallint, requires text[], description text, schemas jsonb)
    order by x.name
    on conflict (name) do update set
        queue = excluded.queue, priority = excluded.priority, requires = excluded.requires,
        description = excluded.description, schemas = excluded.schemas, registered_at = clock_timestamp()
    where (y.queue, y.priority, y.requires, y.description, y.schemas)
        is distinct from (excluded.queue, excluded.priority, excluded.requires, excluded.description, excluded.schemas);
    insert into perdure.lanes (queue, name, requires)
    select y.queue, y.name, y.requires from perdure.task_types as y
    where not exists (
        select from perdure.lanes as l where l.name = y.name and l.queue = y.queue and l.requires = y.requires)
    order by y.name
    on conflict do nothing;
end $$;
