-- Removes what an ended task carried: see the function.
select perdure.erase(%(id)s::bigint)
