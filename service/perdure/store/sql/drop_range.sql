-- Drops the oldest range in which all has ended long enough ago: see the function.
select perdure.drop_range(
    make_interval(secs => %(completed)s::double precision), make_interval(secs => %(failed)s::double precision),
    make_interval(secs => %(cancelled)s::double precision), %(keep_most)s::integer)
