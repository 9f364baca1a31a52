-- Admits tasks that have no place: see the function.
select perdure.repair(%(ids)s::bigint[]) as ids
