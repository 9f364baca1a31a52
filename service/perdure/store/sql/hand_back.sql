-- Gives tasks that were claimed and not started back to ready, unharmed.
select perdure.hand_back(%(leases)s::uuid[], %(tasks)s::bigint[])
