-- Stops claims of a queue: see the function.
select perdure.pause_queue(%(name)s::text, %(stop_running)s::boolean)
