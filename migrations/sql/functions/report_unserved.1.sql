-- What no live worker takes now and was not in the last report, whoever asked for that: so that the workers
-- of a cluster warn once of each change.
create function perdure.report_unserved() returns table (queue text, name text, tasks bigint, why text)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    said jsonb := coalesce((select s.value from perdure.settings as s where s.key = 'unserved' for update), '[]');
    found jsonb;
begin
    select coalesce(jsonb_agg(jsonb_build_array(u.queue, u.name, u.why, u.tasks) order by u.queue, u.name, u.why), '[]')
    into found
    from (select v.queue, v.name, v.why, v.tasks from perdure.unserved_tasks as v order by 1, 2, 3 limit 1000) as u;
    insert into perdure.settings as s (key, value) values ('unserved', found)
    on conflict (key) do update set value = excluded.value where s.value <> excluded.value;
    return query
    select n.entry ->> 0, n.entry ->> 1, (n.entry ->> 3)::bigint, n.entry ->> 2
    from jsonb_array_elements(found) as n (entry)
    where not exists (
        select from jsonb_array_elements(said) as o (entry) where o.entry - 3 = n.entry - 3);
end $$;
