-- Enqueues a JSON array of tasks in one statement and one admission. Positions count from 0, in the
-- order of the array. One bad entry refuses all, with its position. Keys are taken in sorted order,
-- so that two callers with several keys never wait for each other in a circle. delay is in seconds.
create function perdure.enqueue_many(tasks jsonb) returns table ("position" integer, task_id bigint, answer text)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    item record;
begin
    if jsonb_typeof(tasks) is distinct from 'array' then
        perform perdure.refuse('PD004|tasks must be a JSON array|[{"name": ..., "metadata": {...}}, ...]');
    end if;
    -- Entries of a name and metadata alone, as most are, go straight to the door.
    if not exists (
            select from jsonb_array_elements(enqueue_many.tasks) as e (entry) where not perdure.is_plain(e.entry))
        and not exists (select from perdure.queues as q where q.max_depth is not null)
    then
        return query select p.position, p.task_id, 'created' from perdure.enqueue_plain(tasks) as p;
        return;
    end if;
    perform perdure.check_entries(tasks);
    if exists (select from jsonb_array_elements(enqueue_many.tasks) as e (entry) where jsonb_typeof(e.entry -> 'after') = 'array') then
        return query select g.position, g.task_id, g.answer from perdure.enqueue_graph(tasks) as g;
        return;
    end if;
    -- Entries with a key are measured one by one: a request that comes again adds nothing.
    perform perdure.keep_depth(q.name) from (
        select distinct coalesce(e.entry ->> 'queue', y.queue, 'default') as name
        from jsonb_array_elements(enqueue_many.tasks) as e (entry)
        left join perdure.task_types as y on y.name = e.entry ->> 'name'
        where e.entry ->> 'unique_key' is null order by 1) as q;

    return query
    with entries as materialized (
        select e.n, nextval('tasks_id_seq') as id, x.name, coalesce(x.metadata, '{}') as metadata, x.queue,
            x.priority, coalesce(x.run_at, clock_timestamp() + make_interval(secs => x.delay)) as due, x.tags,
            x.requires, x.headers, x.max_retries, x.retry_delays, x.execution_metadata, x.expires_at, x.deadline_at
        from jsonb_array_elements(enqueue_many.tasks) with ordinality as e (entry, n)
        cross join lateral jsonb_to_record(e.entry) as x (
            name text, metadata jsonb, queue text, priority integer, delay double precision, run_at timestamptz,
            tags text[], requires text[], headers jsonb, max_retries integer,
            retry_delays double precision[], execution_metadata jsonb, expires_at timestamptz, deadline_at timestamptz)
        where e.entry ->> 'unique_key' is null),
    presets as (
        insert into perdure.progress (task_id, execution_metadata)
        select e.id, e.execution_metadata from entries as e where e.execution_metadata is not null),
    added as (
        insert into perdure.tasks (id, name, metadata, queue, priority, run_at, tags, requires, headers,
            max_retries, retry_delays, expires_at, deadline_at)
        select e.id, e.name, e.metadata, e.queue, e.priority, e.due, e.tags, e.requires, e.headers,
            e.max_retries, e.retry_delays, e.expires_at, e.deadline_at
        from entries as e order by e.n)
    select (e.n - 1)::integer, e.id, 'created' from entries as e order by e.n;

    perform perdure.lock_entries(tasks);
    -- One call each, in a loop: joined laterally, equal entries would be answered from a Memoize node.
    for item in
        select (e.n - 1)::integer as at, e.entry
        from jsonb_array_elements(enqueue_many.tasks) with ordinality as e (entry, n)
        where e.entry ->> 'unique_key' is not null
        order by e.n
    loop
        return query
        select item.at, made.task_id, made.answer from perdure.enqueue_entry(item.entry, null) as made;
    end loop;
end $$;
