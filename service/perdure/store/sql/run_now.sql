-- Runs a task that waits for a time at once: see the function.
select perdure.run_now(%(id)s::bigint)
