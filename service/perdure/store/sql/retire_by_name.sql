-- Removes a batch of what its name keeps no longer: see the function.
select r.gone, r.more from perdure.retire_by_name(
    make_interval(secs => %(completed)s::double precision), make_interval(secs => %(failed)s::double precision),
    make_interval(secs => %(cancelled)s::double precision), %(at_most)s::integer) as r
