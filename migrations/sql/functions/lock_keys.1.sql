-- Locks the unique keys of tasks that are about to live again, in sorted order, as whoever enqueues several
-- does. Made if retention has removed one: what is not there cannot be locked against an enqueue.
create function perdure.lock_keys(ids bigint[]) returns void
    language sql set search_path = pg_catalog, perdure, pg_temp as $$
    insert into perdure.unique_keys as k (key, task_id)
    select t.unique_key, max(t.id)
    from unnest(ids) as i
    cross join lateral (
        select t.id, t.unique_key from perdure.tasks as t where t.id = i and t.unique_key is not null limit 1) as t
    group by t.unique_key order by t.unique_key
    on conflict (key) do update set key = excluded.key
$$;
