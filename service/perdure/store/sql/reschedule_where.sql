-- Moves the time of all that match, or only counts them: see the function. delay is in seconds.
select perdure.reschedule_where(
    %(name)s::text, %(state)s::text, %(tag)s::text, %(unique_key)s::text, %(queue)s::text,
    make_interval(secs => %(delay)s::double precision), %(run_at)s::timestamptz, %(dry_run)s::boolean)
