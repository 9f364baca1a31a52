-- Forgets what became of instants longer ago than that, a batch: see the function.
select perdure.prune_fires(make_interval(secs => %(older)s::double precision), %(at_most)s::integer) as gone
