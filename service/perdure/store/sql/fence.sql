-- Fences the caller's transaction: raises PD001 in it unless the lease holds the task.
select perdure.fence(%(lease)s::uuid, %(task)s::bigint)
