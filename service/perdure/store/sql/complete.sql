-- Ends the task as completed in the caller's transaction; raises PD001 in it if the lease is lost.
select perdure.complete(%(lease)s::uuid, %(task)s::bigint, %(worker)s::bigint, %(move)s::jsonb)
