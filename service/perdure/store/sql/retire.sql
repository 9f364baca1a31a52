-- Removes what ended longer ago than its state's limit, a small batch: see the function.
select perdure.retire(
    make_interval(secs => %(completed)s::double precision), make_interval(secs => %(failed)s::double precision),
    make_interval(secs => %(cancelled)s::double precision), %(at_most)s::integer)
