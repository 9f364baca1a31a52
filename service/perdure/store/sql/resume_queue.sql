-- Lets a queue be claimed again: see the function.
select perdure.resume_queue(%(name)s::text)
