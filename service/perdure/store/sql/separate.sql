-- Gives a running task a lease of its own before it writes in a caller's transaction; raises PD001.
select perdure.separate(%(lease)s::uuid, %(task)s::bigint, %(own)s::uuid)
