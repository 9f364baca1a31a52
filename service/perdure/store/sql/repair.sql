-- Gives misplaced tasks one place: see the function.
select perdure.repair(%(ids)s::bigint[]) as ids
