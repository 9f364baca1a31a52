-- Tasks that are not in exactly one place: see the function.
select m.task_id, m.places from perdure.misplaced(%(at_most)s::integer) as m
