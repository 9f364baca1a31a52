-- Lets the one task that waits with this key go on: see the function. keep_for is in seconds.
select perdure.proceed_waiting(
    %(wait_key)s::text, %(patch)s::jsonb, %(execution_metadata)s::jsonb, %(run_at)s::timestamptz,
    %(signal_key)s::text, make_interval(secs => %(keep_for)s::double precision))
