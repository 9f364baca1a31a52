-- Changes what was asked of a task: see the function. delays are in seconds.
select perdure.update_task(
    %(id)s::bigint, %(metadata)s::jsonb, %(queue)s::text, %(priority)s::integer,
    make_interval(secs => %(delay)s::double precision), %(run_at)s::timestamptz, %(tags)s::text[],
    %(requires)s::text[], %(headers)s::jsonb, %(max_retries)s::integer, %(retry_delays)s::double precision[],
    %(expires_at)s::timestamptz, %(deadline_at)s::timestamptz, %(clear)s::text[])
