-- Bounds the depth of a queue, and how many of its tasks a worker runs: see the function.
select perdure.set_queue(%(name)s::text, %(max_depth)s::bigint, %(concurrency)s::integer)
