-- Refuses a document of tasks for its first bad entry, and says which: first the form of each, then
-- the values. What an entry is to follow is checked where it is enqueued.
create function perdure.check_entries(tasks jsonb) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    wrong record;
    metadata_bytes bigint := perdure.setting('metadata_bytes');
    checkpoint_bytes bigint := perdure.setting('checkpoint_bytes');
begin
    select (e.n - 1)::integer as at, perdure.entry_problem(e.entry) as problem into wrong
    from jsonb_array_elements(check_entries.tasks) with ordinality as e (entry, n)
    where not perdure.is_plain(e.entry) and perdure.entry_problem(e.entry) is not null
    order by e.n limit 1;
    if found then
        perform perdure.refuse(wrong.problem, wrong.at);
    end if;
    select e.at, e.problem into wrong
    from (
        select (e.n - 1)::integer as at, perdure.problem(
            x.name, coalesce(x.metadata, '{}'), x.queue, x.priority, x.run_at, x.tags, x.requires, x.headers,
            x.max_retries, x.retry_delays, x.unique_key, metadata_bytes, make_interval(secs => x.delay),
            coalesce(x.unique_policy, 'keep'), x.execution_metadata, checkpoint_bytes,
            x.expires_at, x.deadline_at, make_interval(secs => x.unique_for), make_interval(secs => x.max_delay),
            clock_timestamp()) as problem
        from jsonb_array_elements(check_entries.tasks) with ordinality as e (entry, n)
        cross join lateral jsonb_to_record(e.entry) as x (
            name text, metadata jsonb, queue text, priority integer, delay double precision, run_at timestamptz,
            unique_key text, unique_policy text, tags text[], requires text[], headers jsonb, max_retries integer,
            retry_delays double precision[], execution_metadata jsonb, expires_at timestamptz, deadline_at timestamptz,
            unique_for double precision, max_delay double precision)
    ) as e
    where e.problem is not null order by e.at limit 1;
    if found then
        perform perdure.refuse(wrong.problem, wrong.at);
    end if;
end $$;
