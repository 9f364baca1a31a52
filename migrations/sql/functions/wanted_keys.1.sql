-- Of which key each of these tasks has to hold an instance, as its row and the limit of its name are now;
-- null: of none. A plan for every call would cost more than the look.
create function perdure.wanted_keys(ids bigint[]) returns table (task_id bigint, instance_key text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    return query
        select i, perdure.instance_key(y.instances_of, y.instances_by, t.metadata)
        from unnest(ids) as i
        cross join lateral (select s.name, s.metadata from perdure.tasks as s where s.id = i limit 1) as t
        left join perdure.task_types as y on y.name = t.name and y.max_instances is not null;
end $$;
