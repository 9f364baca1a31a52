-- Lets a paused schedule go on: see the function.
select perdure.resume_schedule(%(key)s::text, %(catch_up)s::boolean) as answer
