-- Cancels a task, or asks its run to stop: see the function.
select perdure.cancel(%(id)s::bigint)
