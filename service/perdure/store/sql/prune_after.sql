-- Removes a batch of what ended long enough ago, or only counts it: see the function.
select p.pruned, p.next_after from perdure.prune_after(
    make_interval(secs => %(older_than)s::double precision), %(states)s::text[], %(dry_run)s::boolean,
    %(after)s::bigint, %(at_most)s::integer) as p
