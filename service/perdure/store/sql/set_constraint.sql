-- Says for the whole cluster whether a constraint holds: see the function.
select perdure.set_constraint(%(name)s::text, %(satisfied)s::boolean)
