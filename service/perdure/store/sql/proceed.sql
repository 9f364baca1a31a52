-- Lets a suspended task go on: see the function.
select perdure.proceed(
    %(id)s::bigint, %(patch)s::jsonb, %(execution_metadata)s::jsonb, %(run_at)s::timestamptz, %(signal_key)s::text)
