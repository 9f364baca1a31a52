-- Due plus running: what an autoscaler wants to know of a queue.
select perdure.queue_depth(%(queue)s::text)
