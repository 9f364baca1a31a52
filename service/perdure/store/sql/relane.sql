-- Moves tasks of registered names out of lane 0: see the function.
select r.moved, r.next_after from perdure.relane(%(after)s::bigint, %(at_most)s::integer) as r
