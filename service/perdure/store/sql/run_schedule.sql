-- One extra task of a schedule: see the function.
select r.answer, r.task_id from perdure.run_schedule(%(key)s::text, %(force)s::boolean) as r
