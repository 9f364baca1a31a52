-- Makes a schedule, or changes it: see the function. Lengths of time are in seconds.
select perdure.put_schedule(
    %(key)s::text, %(name)s::text, %(metadata)s::jsonb, make_interval(secs => %(every)s::double precision),
    %(cron)s::text, %(timezone)s::text, %(once)s::timestamptz, %(start_at)s::timestamptz, %(end_at)s::timestamptz,
    make_interval(secs => %(jitter)s::double precision), make_interval(secs => %(flex)s::double precision),
    make_interval(secs => %(misfire_grace)s::double precision), make_interval(secs => %(expires_after)s::double precision),
    %(catch_up)s::text, %(max_catch_up)s::integer, %(overlap)s::text, %(queue)s::text, %(priority)s::integer,
    %(tags)s::text[], %(requires)s::text[], %(headers)s::jsonb, %(max_retries)s::integer, %(policy)s::text,
    %(keep_phase)s::boolean, %(declared)s::boolean) as answer
