-- Removes a schedule: see the function.
select perdure.delete_schedule(%(key)s::text) as answer
