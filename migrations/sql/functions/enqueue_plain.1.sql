-- The part of enqueue_many for entries of a name and metadata alone: the door examines them as they come. Only
-- where it has refused one they are examined here, to say which.
create function perdure.enqueue_plain(tasks jsonb) returns table ("position" integer, task_id bigint)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    metadata_bytes bigint;
begin
    return query
    with entries as materialized (
        select e.n, nextval('tasks_id_seq') as id, e.entry
        from jsonb_array_elements(enqueue_plain.tasks) with ordinality as e (entry, n)),
    added as (
        insert into perdure.tasks (id, name, metadata)
        select e.id, e.entry ->> 'name', e.entry -> 'metadata' from entries as e order by e.n)
    select (e.n - 1)::integer, e.id from entries as e order by e.n;
exception when sqlstate 'PD002' or sqlstate 'PD004' then
    metadata_bytes := perdure.setting('metadata_bytes');
    perform perdure.refuse(p.problem, p.at)
    from (
        select (e.n - 1)::integer as at, perdure.problem(
            e.entry ->> 'name', e.entry -> 'metadata', null, null, null, null, null, null, null, null, null,
            metadata_bytes) as problem
        from jsonb_array_elements(enqueue_plain.tasks) with ordinality as e (entry, n)
        order by e.n) as p
    where p.problem is not null limit 1;
    raise;
end $$;
