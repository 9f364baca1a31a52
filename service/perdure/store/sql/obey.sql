-- Obeys the mail of tasks in no lease: see the function.
select perdure.obey(%(at_most)s::integer)
