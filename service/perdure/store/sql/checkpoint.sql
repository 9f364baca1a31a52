-- Fences and saves in the caller's transaction: both or neither with its business writes.
select perdure.checkpoint(
    %(lease)s::uuid, %(task)s::bigint, %(attempt)s::integer, %(started_at)s::double precision, %(saved)s::jsonb)
