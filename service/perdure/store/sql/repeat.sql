-- Enqueues a copy of a task: see the function.
select perdure.repeat(%(id)s::bigint)
