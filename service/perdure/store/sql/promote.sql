-- Moves what is due to ready: see the function.
select p.moved, p.due_in, p.rung from perdure.promote(%(at_most)s::integer) as p
