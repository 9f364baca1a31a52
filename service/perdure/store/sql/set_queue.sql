-- Bounds the depth of a queue: see the function.
select perdure.set_queue(%(name)s::text, %(max_depth)s::bigint)
