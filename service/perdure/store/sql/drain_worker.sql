-- Lets a worker take no more tasks: see the function.
select perdure.drain_worker(%(id)s::bigint)
