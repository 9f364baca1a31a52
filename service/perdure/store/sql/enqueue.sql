-- Enqueues one task in the transaction that it runs in: see the function. delays are in seconds.
select e.task_id, e.answer
from perdure.enqueue(
    %(name)s::text, %(metadata)s::jsonb, %(queue)s::text, %(priority)s::integer,
    make_interval(secs => %(delay)s::double precision), %(run_at)s::timestamptz, %(unique_key)s::text,
    %(unique_policy)s::text, %(tags)s::text[], %(requires)s::text[], %(headers)s::jsonb,
    %(max_retries)s::integer, %(retry_delays)s::double precision[], %(execution_metadata)s::jsonb, %(request_id)s::uuid,
    %(after)s::jsonb, %(expires_at)s::timestamptz, %(deadline_at)s::timestamptz,
    make_interval(secs => %(unique_for)s::double precision), make_interval(secs => %(max_delay)s::double precision))
    as e
