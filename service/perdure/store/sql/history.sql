-- What happened to a task, in order of time: see the function.
select h.at, h.event, h.attempt, h.actor, h.worker_id, h.details from perdure.history(%(id)s::bigint) as h
