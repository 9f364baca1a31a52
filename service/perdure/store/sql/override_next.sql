-- Has the next instant of a schedule happen at another time, once: see the function.
select perdure.override_next(%(key)s::text, %(at)s::timestamptz) as answer
