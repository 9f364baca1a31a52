-- Records the names that a worker serves, with their defaults and JSON Schemas, and makes their lanes;
-- what was admitted before its name was known is moved out of lane 0.
create function perdure.register_types(types jsonb) returns void
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    limits jsonb := (
        select jsonb_object_agg(y.name, jsonb_build_array(y.max_instances, y.instances_of, y.instances_by, y.when_full))
        from perdure.task_types as y);
    one record;
begin
    insert into perdure.task_types as y (name, queue, priority, requires, description, schemas,
        max_instances, instances_of, instances_by, when_full, keep_results)
    select x.name, x.queue, x.priority, perdure.joined(x.requires, '{}'), x.description, coalesce(x.schemas, '{}'),
        x.max_instances, x.instances_of, x.instances_by, coalesce(x.when_full, 'queue'),
        make_interval(secs => x.keep_results)
    from jsonb_to_recordset(types) as x (
        name text, queue text, priority smallint, requires text[], description text, schemas jsonb,
        max_instances integer, instances_of text, instances_by text, when_full text,
        keep_results double precision)
    order by x.name
    on conflict (name) do update set
        queue = excluded.queue, priority = excluded.priority, requires = excluded.requires,
        description = excluded.description, schemas = excluded.schemas, registered_at = clock_timestamp(),
        max_instances = excluded.max_instances, instances_of = excluded.instances_of,
        instances_by = excluded.instances_by, when_full = excluded.when_full,
        keep_results = excluded.keep_results
    where (y.queue, y.priority, y.requires, y.description, y.schemas,
            y.max_instances, y.instances_of, y.instances_by, y.when_full, y.keep_results)
        is distinct from (excluded.queue, excluded.priority, excluded.requires, excluded.description, excluded.schemas,
            excluded.max_instances, excluded.instances_of, excluded.instances_by, excluded.when_full, excluded.keep_results);
    insert into perdure.lanes (queue, name, requires, limited)
    select y.queue, y.name, y.requires, y.max_instances is not null from perdure.task_types as y
    where not exists (
        select from perdure.lanes as l
        where l.name = y.name and l.queue = y.queue and l.requires = y.requires
            and l.limited = (y.max_instances is not null))
    order by y.name
    on conflict do nothing;
    -- A limit that has changed: what is ready asks anew if it has come or gone, who waits is looked at.
    for one in
        select y.name, y.max_instances from perdure.task_types as y
        where limits -> y.name is distinct from
            jsonb_build_array(y.max_instances, y.instances_of, y.instances_by, y.when_full)
        order by y.name
    loop
        update perdure.lanes as l set stale = not l.stale
        where l.name = one.name and l.stale <> (l.limited <> (one.max_instances is not null));
        insert into perdure.openings (key, at_commit)
        select distinct w.instance_key, false from perdure.waiting as w
        where w.instance_key = one.name or w.instance_key >= one.name || ' ' and w.instance_key < one.name || '!';
        perform pg_notify(perdure.channel() || '_mail', '');
    end loop;
end $$;
