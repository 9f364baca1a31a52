-- Runs a task that has failed or was cancelled again: see the function.
select perdure.retry(%(id)s::bigint, %(patch)s::jsonb, %(execution_metadata)s::jsonb, %(with_dependents)s::boolean)
