-- Locks the keys of a document in sorted order, made where there are none, held by nobody; then all that stand in
-- their lines in the order of their ids: who enqueues several, or touches several, waits for no other in a circle.
create function perdure.lock_entries(tasks jsonb) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    keys constant text[] := array(
        select distinct e.entry ->> 'unique_key' collate "C" from jsonb_array_elements(tasks) as e (entry)
        where e.entry ->> 'unique_key' is not null order by 1);
begin
    insert into perdure.unique_keys as k (key, task_id)
    select u.key, 0 from unnest(keys) with ordinality as u (key, n) order by u.n
    on conflict (key) do update set key = excluded.key;
    if cardinality(keys) > 1 then
        perform perdure.lock_line(array(
            select perdure.key_holder(k.key, k.task_id) from perdure.unique_keys as k where k.key = any (keys)));
    end if;
end $$;
