-- Enqueues one entry of enqueue_many by itself, because it has a unique key, or follows tasks: those of `after`.
create function perdure.enqueue_entry(entry jsonb, after jsonb) returns table (task_id bigint, answer text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    return query
    select made.task_id, made.answer
    from jsonb_to_record(entry) as x (
            name text, metadata jsonb, queue text, priority integer, delay double precision, run_at timestamptz,
            unique_key text, unique_policy text, tags text[], requires text[], headers jsonb, max_retries integer,
            retry_delays double precision[], execution_metadata jsonb, request_id uuid,
            expires_at timestamptz, deadline_at timestamptz, unique_for double precision, max_delay double precision)
    cross join lateral perdure.enqueue(
        x.name, coalesce(x.metadata, '{}'), x.queue, x.priority, make_interval(secs => x.delay), x.run_at,
        x.unique_key, coalesce(x.unique_policy, 'keep'), x.tags, x.requires, x.headers, x.max_retries,
        x.retry_delays, x.execution_metadata, x.request_id, after, x.expires_at, x.deadline_at,
        make_interval(secs => x.unique_for), make_interval(secs => x.max_delay)) as made;
end $$;
